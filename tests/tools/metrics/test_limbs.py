"""Limbs of trackers with other bodies: aligned, centred, and late by what they are late."""

import numpy as np
import pytest

from kinestream.tools.metrics.limbs import LIMB_JOINTS, LIMB_LANDMARKS, limb_figures, limbs_of


def moving(times_s: np.ndarray) -> np.ndarray:
    """Twelve joints (T, 12, 3) that swing, each on its own way."""
    phase = np.arange(36).reshape(12, 3)
    return np.sin(2.1 * times_s[:, None, None] + phase) + 0.3 * np.sin(
        5.3 * times_s[:, None, None] + 2 * phase
    )


def test_another_scale_and_place_is_no_error_and_lag_is_found() -> None:
    times_s = np.arange(180) / 30
    true, late = moving(times_s), moving(times_s - 0.1)
    exact = limb_figures(times_s, 0.8 * true + 3.0, true)
    assert exact["tracked"] == 180
    assert exact["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-6)
    assert exact["lag_ms"] == pytest.approx(0.0, abs=5)
    delayed = limb_figures(times_s, late, true)
    assert delayed["lag_ms"] == pytest.approx(100.0, abs=10)
    assert delayed["pa_mpjpe_mm"] > 10


def test_noise_is_jitter_and_missing_frames_are_left_out() -> None:
    times_s = np.arange(180) / 30
    true = moving(times_s)
    noisy = true + np.random.default_rng(0).normal(0, 0.02, true.shape)
    noisy[7] = np.nan
    result = limb_figures(times_s, noisy, true)
    assert result["tracked"] == 179
    assert result["jitter_100m_s3"] > 2 * limb_figures(times_s, true, true)["jitter_100m_s3"]


def test_landmarks_are_read_in_the_order_of_the_joints() -> None:
    frame = [[float(row), 0.0, 0.0] for row in range(33)]
    limbs = limbs_of([frame, None])
    np.testing.assert_array_equal(limbs[0, :, 0], LIMB_LANDMARKS)
    assert np.isnan(limbs[1]).all()
    assert len(LIMB_JOINTS) == len(LIMB_LANDMARKS) == 12
