"""Clock offsets are found, alignments take out what they should and nothing else."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.models import Models
from kinestream.tools.bench.accuracy.opencap import compared, opencap

NAMES = ["left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"]


def motion(times_s: np.ndarray) -> np.ndarray:
    """(T, 6, 3) joints that move on different paths."""
    base = np.random.default_rng(0).normal(size=(len(NAMES), 3))
    rate = 1 + np.arange(len(NAMES))
    return base + 0.3 * np.sin(times_s[:, None] * rate)[..., None]


def test_offset_and_similarity_are_taken_out() -> None:
    truth_s = np.arange(0, 4, 0.01)
    times = np.arange(0, 3.5, 1 / 30)
    turn = Rotation.from_rotvec([0.3, 1.0, -0.2]).as_matrix()
    guess = 1.7 * motion(times + 0.08) @ turn + np.array([1.0, 2.0, 3.0])
    result = compared(times, guess, truth_s, motion(truth_s), NAMES)
    assert result["clock_offset_s"] == pytest.approx(0.08)
    assert result["pa_mpjpe_mm"] < 1.0
    assert result["clip_aligned_mm"] < 1.0


def test_errors_of_the_root_stay_in_the_clip_wide_figure() -> None:
    times = np.arange(0, 3, 0.02)
    true = motion(times)
    turns = Rotation.from_rotvec(np.outer(0.3 * np.sin(5 * times), [0, 1, 0])).as_matrix()
    result = compared(times, true @ turns, times, true, NAMES)
    assert result["pa_mpjpe_mm"] < 1.0
    assert result["clip_aligned_mm"] > 50.0


def test_what_is_missing_is_named(tmp_path) -> None:
    np.savez(tmp_path / "a.npz", names=np.array(NAMES))
    with pytest.raises(ValueError, match="mocap_t"):
        opencap(tmp_path, Models.load())
    with pytest.raises(ValueError, match="no frame"):
        compared(np.array([9.0]), np.zeros((1, 6, 3)), np.arange(3.0), np.zeros((3, 6, 3)), NAMES)
