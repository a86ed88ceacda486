"""Thinned captures with exchanged limbs, and the pool that is drawn from them."""

from pathlib import Path

import numpy as np
import pytest

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.prepare.crop_pool import PoolRenderer, build
from kinestream.trainer.scenes.poses import ClipPoses, VariedPoses
from kinestream.trainer.scenes.stage import SceneAssets


def turned(angle: float) -> np.ndarray:
    """A pose (22, 3, 3) with every joint turned alike."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return np.tile(turn, (22, 1, 1))


def test_limbs_come_whole_and_the_root_stays_with_its_pose() -> None:
    poses = VariedPoses(np.stack([turned(0.1), turned(0.9)]), exchange_share=0.5, mirror_share=0.0)
    rng = np.random.default_rng(0)
    left_leg = [JOINT_NAMES.index(name) for name in ("left_hip", "left_knee", "left_ankle", "left_foot")]
    mixed = 0
    for _ in range(40):
        pose = poses.pose(rng)
        assert pose.shape == (24, 3, 3)
        angles = np.arctan2(pose[:22, 1, 0], pose[:22, 0, 0])
        assert np.ptp(angles[left_leg]) < 1e-9
        mixed += bool(np.ptp(angles) > 0.5)
    assert 10 < mixed < 40


def test_standing_still_does_not_outweigh_motion(motion_clip: MotionClip, tmp_path: Path) -> None:
    still = MotionClip(
        "still",
        np.repeat(motion_clip.rotations[:1], 500, 0),
        np.zeros((500, 3)),
        motion_clip.fps,
        motion_clip.split,
        motion_clip.source,
    )
    cache = tmp_path / "cache.npz"
    MocapCache.from_clips([motion_clip, still]).save(cache)
    kept = VariedPoses.load(cache, split=motion_clip.split)
    rng = np.random.default_rng(1)
    same = sum(np.allclose(kept.pose(rng)[:22], still.rotations[0], atol=1e-3) for _ in range(60))
    assert same < 30


def test_no_pose_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one pose"):
        VariedPoses(np.zeros((0, 22, 3, 3)))


def test_a_pool_is_drawn_and_read(assets: SceneAssets, poses: ClipPoses, tmp_path: Path) -> None:
    renderer = PoolRenderer(assets, poses, side_px=64, any_turn_share=0.5)
    build(renderer, tmp_path, count=3, side_px=64, seed=0)
    backdrops = Backdrops([np.full((32, 64, 3), 90, np.uint8)], side_px=64, views=1)
    pool = CropPool(tmp_path, backdrops, crop_px=64)
    assert len(pool) == 3
    sample = pool.crop(1, np.random.default_rng(2))
    assert sample.body is not None
    assert (sample.parts > 0).any()
    assert sample.known.all()


def test_unspoiled_people_stand_before_an_untouched_background(
    assets: SceneAssets, poses: ClipPoses, tmp_path: Path
) -> None:
    build(PoolRenderer(assets, poses, side_px=64, any_turn_share=0.0), tmp_path, count=2, side_px=64, seed=0)
    backdrops = Backdrops([np.full((32, 64, 3), 90, np.uint8)], side_px=64, views=1)

    def untouched(*, spoiled: bool) -> list[float]:
        """Share of the background's colour in 20 crops."""
        pool = CropPool(tmp_path, backdrops, crop_px=64, any_turn=0.0, spoiled=spoiled)
        crops = [pool.crop(seed % 2, np.random.default_rng(seed)) for seed in range(20)]
        return [float((crop.image == 90).all(-1).mean()) for crop in crops]

    assert np.median(untouched(spoiled=False)) > 0.4
    assert np.median(untouched(spoiled=True)) < 0.1
