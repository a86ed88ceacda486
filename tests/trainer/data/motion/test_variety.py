"""Poses are drawn by what they show: repetitions share a place, and rare motion is not lost among them."""

from pathlib import Path

import numpy as np
import pytest

from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.variety import (
    drawn_by_weight,
    load_varied_poses,
    motion_features,
    variety_weights,
)


def clip(elbow_rad: np.ndarray, *, yaw_rad: float = 0.0, name: str = "a") -> MotionClip:
    """Standing, with a left elbow that bends."""
    vectors = np.zeros((len(elbow_rad), 22, 3))
    vectors[:, 18, 1] = -elbow_rad
    vectors[:, 0, 1] = yaw_rad
    return MotionClip(name, matrix_from_axis_angle(vectors), np.zeros((len(elbow_rad), 3)), 50.0)


def test_features_do_not_know_the_heading_but_the_speed() -> None:
    wave = 1 + np.sin(np.linspace(0, 6, 30))
    still, turned = motion_features(clip(wave)), motion_features(clip(wave, yaw_rad=2.0))
    assert still.shape == (30, 144)
    np.testing.assert_allclose(still, turned, atol=1e-9)
    quick = motion_features(clip(1 + np.sin(np.linspace(0, 12, 30))))
    assert np.abs(quick[0, 72:]).max() > 1.5 * np.abs(still[0, 72:]).max()


def test_a_clip_of_one_frame_has_no_speed() -> None:
    assert not motion_features(clip(np.ones(1)))[:, 72:].any()


def test_crowded_places_count_for_less() -> None:
    rng = np.random.default_rng(0)
    crowd, rare = rng.normal(size=(900, 3)) * 0.01, rng.normal(size=(100, 3)) * 0.01 + 5
    features = np.concatenate([crowd, rare])
    weights = variety_weights(features, centres=2, power=0.5)
    assert weights.sum() == pytest.approx(1)
    assert weights[900:].sum() == pytest.approx(np.sqrt(100) / (np.sqrt(100) + np.sqrt(900)))
    assert variety_weights(features, centres=2, power=1.0)[900:].sum() == pytest.approx(0.5)
    np.testing.assert_allclose(variety_weights(features, centres=2, power=0.0), 1e-3)


def test_more_centres_than_frames() -> None:
    weights = variety_weights(np.eye(3), centres=50)
    np.testing.assert_allclose(weights, 1 / 3)


def test_draws_follow_the_weights() -> None:
    drawn = drawn_by_weight(np.array([0.5, 0.25, 0.25, 0.0]))
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == 2
    assert counts.sum() == 4
    assert counts[3] == 0


def test_repetitions_do_not_outweigh(tmp_path: Path) -> None:
    swing = np.tile(np.sin(np.linspace(0, 2 * np.pi, 100)), 10)
    clips = [clip(0.4 + 0.4 * swing, name="often"), clip(np.linspace(1.2, 2.4, 60), name="once")]
    MocapCache.from_clips(clips).save(tmp_path / "c.npz")
    poses = load_varied_poses(tmp_path / "c.npz", "train", step_rad=0.005, centres=30)
    assert poses.shape[1:] == (22, 3, 3)
    elbow = np.arccos(poses[:, 18, 0, 0].numpy())
    frames = [len(load_varied_poses(tmp_path / "c.npz", None, step_rad=0.005, centres=1))]
    assert frames[0] == len(poses)
    assert (elbow > 1.1).mean() > 2 * 1.2 / (1.2 + 16 * 0.8)
    with pytest.raises(ValueError, match="no clip of split 'val'"):
        load_varied_poses(tmp_path / "c.npz", "val", step_rad=0.05)
