"""Readout of heat maps: a peak is found where it is, confidence gives no gradient to the maps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.body.skeleton import NUM_KEYPOINTS, NUM_PARTS
from kinestream.regress.heads import (
    SPREAD_SHARPNESS,
    ConfidenceHead,
    DenseHead,
    cell_centers,
    read_keypoints,
)


def gaussian_map(x: float, y: float, *, height: int, width: int) -> torch.Tensor:
    dx = (cell_centers(width) - x) * width / 2
    dy = (cell_centers(height) - y) * height / 2
    return -0.5 * (dx[None, :] ** 2 + dy[:, None] ** 2) / 1.25**2


@settings(deadline=None, max_examples=40)
@given(st.floats(-0.8, 0.8), st.floats(-0.8, 0.8), st.sampled_from([(32, 32), (48, 48), (24, 40)]))
def test_reading_finds_a_peak_between_cells(x: float, y: float, shape: tuple[int, int]) -> None:
    heat = gaussian_map(x, y, height=shape[0], width=shape[1])[None, None]
    reading = read_keypoints(heat)
    torch.testing.assert_close(reading.points[0, 0], torch.tensor([x, y]), atol=2e-3, rtol=0)
    assert 0 < reading.peak.item() <= 1
    assert (reading.covariance[..., ::2] > 0).all()


def test_spread_tells_a_sharp_map_from_a_flat_one() -> None:
    sharp = gaussian_map(0.1, 0.2, height=32, width=32)
    reading = read_keypoints(torch.stack([sharp, torch.zeros_like(sharp)])[None])
    assert (reading.covariance[0, 0, ::2] < 0.04 * reading.covariance[0, 1, ::2]).all()
    assert reading.peak[0, 0] > 10 * reading.peak[0, 1]


def test_covariance_is_that_of_the_sharpened_map() -> None:
    """A ridge along a diagonal, of which the reading's power takes half of each variance."""
    side, long, short = 64, 0.2, 0.05
    x, y = cell_centers(side)[None, :], cell_centers(side)[:, None]
    along, across = (x - 0.1 + y + 0.05) / 2**0.5, (x - 0.1 - y - 0.05) / 2**0.5
    heat = -0.5 * ((along / long) ** 2 + (across / short) ** 2)
    xx, xy, yy = read_keypoints(heat[None, None]).covariance[0, 0].double().tolist()
    long, short = long**2 / SPREAD_SHARPNESS, short**2 / SPREAD_SHARPNESS
    assert [xx, xy, yy] == pytest.approx(
        [(long + short) / 2, (long - short) / 2, (long + short) / 2], rel=0.01
    )


def test_the_stronger_of_two_modes_wins() -> None:
    strong = gaussian_map(0.5, 0.0, height=32, width=32)
    weak = gaussian_map(-0.5, 0.0, height=32, width=32) - 2.0
    point = read_keypoints(torch.logaddexp(strong, weak)[None, None]).points[0, 0]
    assert abs(point[0] - 0.5) < 0.05


def test_dense_head_has_keypoints_and_parts_at_the_size_of_the_features() -> None:
    head, features = DenseHead(16), torch.zeros(2, 16, 6, 10)
    heat, parts = head.keypoints(features), head.parts(features)
    assert heat.shape == (2, NUM_KEYPOINTS, 6, 10)
    assert parts.shape == (2, 1 + NUM_PARTS, 6, 10)


def test_confidence_does_not_pull_at_the_heat_maps() -> None:
    heat = torch.randn(1, NUM_KEYPOINTS, 8, 8, requires_grad=True)
    pooled = torch.randn(1, 12, requires_grad=True)
    confidence, presence = ConfidenceHead(12)(read_keypoints(heat), pooled)
    (confidence.sum() + presence.sum()).backward()
    assert heat.grad is None
    assert pooled.grad is not None
