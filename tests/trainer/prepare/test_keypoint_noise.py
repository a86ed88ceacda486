"""The constants of the keypoints' deviations are found again in errors that have them."""

import numpy as np
import pytest

from kinestream.trainer.prepare.keypoint_noise import fit, fit_heatmaps

COUNT = 20_000


def test_deviation_and_slope_by_confidence_are_found() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, COUNT)
    share = rng.rayleigh(0.01 * np.exp(3.0 * (1 - confidence)))
    assert fit(share, confidence) == pytest.approx((0.01, 3.0), rel=0.03)


def test_what_is_due_to_heat_maps_is_found() -> None:
    """Errors along the heat maps' ridges, with tails."""
    rng = np.random.default_rng(0)
    confidence, turn = rng.uniform(0.2, 1.0, COUNT), rng.uniform(0, np.pi, COUNT)
    long, short = rng.uniform(0.02, 0.06, COUNT), 0.01
    axis = np.stack([np.cos(turn), np.sin(turn)], 1)
    xx, xy, yy = ((long**2 - short**2) * axis[:, i] * axis[:, j] for i, j in ((0, 0), (0, 1), (1, 1)))
    covariance = np.stack([xx + short**2, xy, yy + short**2], 1)
    scale = np.square(0.6 * np.exp(1.3 * (1 - confidence)))[:, None] * covariance + [0.004**2, 0, 0.004**2]
    root = np.linalg.cholesky(scale[:, [0, 1, 1, 2]].reshape(-1, 2, 2))
    heavy = rng.normal(size=(COUNT, 2)) / np.sqrt(rng.chisquare(3, (COUNT, 1)) / 3)
    error = np.einsum("nij,nj->ni", root, heavy)
    found = fit_heatmaps(error, covariance, confidence)
    assert found["share"] == pytest.approx(0.6, rel=0.05)
    assert found["share_slope"] == pytest.approx(1.3, rel=0.05)
    assert found["floor"] == pytest.approx(0.004, rel=0.25)
    assert found["nats_gained_a_keypoint"] > 0.2
