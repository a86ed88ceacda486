"""Keypoint losses: numbers by hand, gradients, and what has no say."""

from __future__ import annotations

import math

import pytest
import torch

from kernels.keypoints import reprojection_loss, soft_argmax


def keypoints(batch: int = 3, count: int = 7) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    points = torch.randn(batch, count, 3, generator=g, dtype=torch.float64)
    points[..., 2] += 5
    camera = torch.tensor([[100.0, 2, 32], [0, 90, 24], [0, 0, 1]], dtype=torch.float64).repeat(batch, 1, 1)
    target = torch.randn(batch, count, 2, generator=g, dtype=torch.float64) * 20 + 30
    confidence = torch.rand(batch, count, generator=g, dtype=torch.float64)
    return points, target, confidence, camera


def test_reprojection_by_hand():
    points = torch.tensor([[[0.0, 0.0, 2.0], [1.0, 0.0, 2.0]]])
    camera = torch.tensor([[10.0, 0, 4], [0, 10, 3], [0, 0, 1]])
    target = torch.tensor([[[4.0, 3.0], [6.0, 7.0]]])  # offsets (0, 0) and (3, -4), at distance 5
    weights = torch.tensor([[1.0, 3.0]])
    loss = reprojection_loss(points, target, weights, camera=camera, sigma_px=5.0)
    torch.testing.assert_close(loss, torch.tensor([3 * 0.5 / 4]))
    loss = reprojection_loss(points, target, weights, camera=camera, sigma_px=2.5, robustifier="huber")
    torch.testing.assert_close(loss, torch.tensor([3 * 1.5 / 4]))


@pytest.mark.parametrize("robustifier", ["geman_mcclure", "huber"])
def test_reprojection_gradcheck(robustifier):
    points, target, confidence, camera = keypoints()

    def loss(points: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
        whole = torch.cat([upper, camera[:, 2:]], 1)
        return reprojection_loss(points, target, confidence, camera=whole, robustifier=robustifier)

    assert torch.autograd.gradcheck(loss, (points.requires_grad_(True), camera[:, :2].requires_grad_(True)))


def test_what_is_unseen_or_behind_the_camera_has_no_say():
    points, target, confidence, camera = keypoints()
    plain = reprojection_loss(points[:, 2:], target[:, 2:], confidence[:, 2:], camera=camera)
    confidence[:, 0] = 0
    target[:, 0] = math.nan
    points[:, 1, 2] = -1
    points.requires_grad_(True)
    loss = reprojection_loss(points, target, confidence, camera=camera)
    torch.testing.assert_close(loss, plain)
    (gradient,) = torch.autograd.grad(loss.sum(), points)
    assert gradient.isfinite().all()
    assert (gradient[:, :2] == 0).all()
    assert (gradient[:, 2:] != 0).any(-1).all()
    assert (reprojection_loss(points, target, confidence * 0, camera=camera) == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target_px": torch.zeros(3, 7, 3)}, r"\(B,K,2\)"),
        ({"confidence": torch.zeros(3, 6)}, r"\(B,K\)"),
        ({"camera": torch.eye(4)}, r"\(3,3,3\)"),
        ({"sigma_px": 0.0}, "positive"),
        ({"robustifier": "l1"}, "geman_mcclure"),
    ],
)
def test_reprojection_refuses(change, words):
    points, target, confidence, camera = keypoints()
    arguments = {"target_px": target, "confidence": confidence, "camera": camera, **change}
    with pytest.raises(ValueError, match=words):
        reprojection_loss(points, **arguments)


@pytest.mark.parametrize("place", [(3.0, 5.0), (0.0, 0.0), (7.25, 2.5)])
def test_soft_argmax_finds_a_gaussian(place):
    """The softmax of a paraboloid is a Gaussian: its mean is the place and its variance the one put in."""
    x, y = torch.arange(64.0) - 30, torch.arange(48.0) - 20
    squared = ((x - place[0]).square()[None, :] + (y - place[1]).square()[:, None]) / (2 * 1.5**2)
    out = soft_argmax(-squared[None, None].double())
    torch.testing.assert_close(
        out.points_px[0, 0] - torch.tensor([30.0, 20.0]), torch.tensor(place), check_dtype=False
    )
    torch.testing.assert_close(out.variance_px2[0, 0], torch.full((2,), 1.5**2, dtype=torch.float64))


def test_soft_argmax_moves_with_the_map_and_ignores_an_offset():
    g = torch.Generator().manual_seed(1)
    logits = torch.full((2, 3, 20, 24), -1e4)
    logits[..., 4:10, 5:12] = torch.randn(2, 3, 6, 7, generator=g)
    out = soft_argmax(logits)
    moved = soft_argmax(logits.roll((3, 2), (2, 3)) + 7.0)
    torch.testing.assert_close(moved.points_px, out.points_px + torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(moved.variance_px2, out.variance_px2, rtol=1e-4, atol=1e-4)


def test_soft_argmax_gradcheck_and_refusal():
    logits = torch.randn(2, 2, 5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: tuple(soft_argmax(x)), logits.requires_grad_(True))
    with pytest.raises(ValueError, match="non-empty"):
        soft_argmax(torch.zeros(2, 5, 4))
