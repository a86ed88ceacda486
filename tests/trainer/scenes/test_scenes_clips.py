"""Pose sources and clips."""

import itertools

import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import MIRROR_JOINTS
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.clips import grounded, make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.outfit import random_outfit
from kinestream.trainer.scenes.poses import ClipPoses, MixedPoses
from kinestream.trainer.scenes.stage import SceneAssets

STILL = SceneConfig(**{**vars(SceneConfig.clean()), "image_sizes_px": ((192, 144),), "samples": 1})


def test_poses_come_from_the_clip_or_its_mirror(poses: ClipPoses, motion_clip: MotionClip) -> None:
    rng = np.random.default_rng(0)
    mirror = motion_clip.mirrored()
    found = set()
    for _ in range(20):
        pose = poses.pose(rng)
        assert pose.shape == (24, 3, 3)
        np.testing.assert_array_equal(pose[22:], np.tile(np.eye(3), (2, 1, 1)))
        for name, clip in (("plain", motion_clip), ("mirror", mirror)):
            gap = np.abs(clip.rotations - pose[:22]).max((1, 2, 3)).min()
            found |= {name} if gap < 1e-6 else set()
    assert found == {"plain", "mirror"}
    assert MIRROR_JOINTS[1] == 2


def test_motion_is_resampled_to_the_rate(poses: ClipPoses, motion_clip: MotionClip) -> None:
    motion = poses.motion(np.random.default_rng(0), frames=30, fps=30.0)
    assert len(motion) == 30 and motion.rotations.shape == (30, 24, 3, 3)
    speed = np.linalg.norm(np.diff(motion.root_translation_m, axis=0), axis=1) * 30
    assert np.median(speed) == pytest.approx(0.5, rel=0.05)
    with pytest.raises(ValueError, match=r"no clip lasts 300 frames.*longest lasts 2\.0 s"):
        poses.motion(np.random.default_rng(0), frames=300, fps=30.0)
    with pytest.raises(ValueError, match="at least one clip"):
        ClipPoses([])


def test_mixed_poses_take_shares(poses: ClipPoses) -> None:
    class Still:
        def pose(self, rng: np.random.Generator) -> np.ndarray:
            return np.tile(np.eye(3), (24, 1, 1))

    mixed, rng = MixedPoses([(Still(), 3.0), (poses, 1.0)]), np.random.default_rng(0)
    still = sum((mixed.pose(rng) == np.eye(3)).all() for _ in range(200))
    assert 120 < still < 180
    with pytest.raises(ValueError, match="weights"):
        MixedPoses([])


def test_feet_come_to_the_floor_whatever_the_shape(assets: SceneAssets, poses: ClipPoses) -> None:
    motion = poses.motion(np.random.default_rng(0), frames=10, fps=30.0)
    for seed in range(3):
        character = Character(assets.library, random_outfit(assets.library, np.random.default_rng(seed)))
        walked = grounded(character, motion)
        lowest = [
            character.pose(r, t).vertices_m[:, 1].min()
            for r, t in zip(walked.rotations, walked.root_translation_m, strict=True)
        ]
        assert np.percentile(lowest, 10) == pytest.approx(0, abs=1e-3)
        assert np.abs(walked.root_translation_m[:, [0, 2]].mean(0)).max() < 0.2


def test_clip_has_ground_truth_for_every_frame(assets: SceneAssets, poses: ClipPoses) -> None:
    frames = list(make_clip(assets, poses, Augmenter(STILL), 4, frames=12))
    assert len(frames) == 12
    assert [f.t_ns for f in frames] == [round(i * 1e9 / 30) for i in range(12)]
    joints = np.stack([f.person.joints_cam_m for f in frames])
    step = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    assert 0 < step.mean() < 0.05 and step.max() < 0.3
    body = BodyModel.load()
    for frame in frames[::5]:
        person = frame.person
        inputs = (person.betas, person.rotations, person.translation_m)
        posed = body(*(torch.from_numpy(x)[None] for x in inputs))
        np.testing.assert_allclose(posed.joints_m[0].numpy(), person.joints_cam_m, atol=1e-4)
        rows, columns = np.nonzero(frame.part_map)
        x0, y0, x1, y1 = person.box_xyxy_px
        assert len(rows) > 50
        assert x0 - 2 <= columns.min() and columns.max() <= x1 + 2
        assert y0 - 2 <= rows.min() and rows.max() <= y1 + 2


def test_clip_is_deterministic_and_lazy(assets: SceneAssets, poses: ClipPoses) -> None:
    augmenter = Augmenter(STILL)
    first = next(make_clip(assets, poses, augmenter, 4, frames=12))
    other = next(make_clip(assets, poses, augmenter, 5, frames=12))
    again = list(itertools.islice(make_clip(assets, poses, augmenter, 4, frames=12), 2))
    np.testing.assert_array_equal(first.image, again[0].image)
    assert (again[0].image != again[1].image).any()
    assert (first.image != other.image).mean() > 0.3


def test_shake_moves_background_and_person_together(assets: SceneAssets, poses: ClipPoses) -> None:
    shaky = SceneConfig(**{**vars(STILL), "camera_shake_deg": 2.0})
    still_frames, shaky_frames = (
        list(make_clip(assets, poses, Augmenter(k), 4, frames=12)) for k in (STILL, shaky)
    )
    world = [np.stack([f.person.rotations[0] for f in frames]) for frames in (still_frames, shaky_frames)]
    # the shake is one rotation of the camera: applied to the still root it gives the shaken one
    turn = world[1] @ world[0].transpose(0, 2, 1)
    for index, (a, b) in enumerate(zip(still_frames, shaky_frames, strict=True)):
        expected = a.person.joints_cam_m @ turn[index].T
        np.testing.assert_allclose(b.person.joints_cam_m, expected, atol=1e-4)
    angles = np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.degrees(angles).max() > 0.5
    assert (still_frames[0].image != shaky_frames[0].image).mean() > 0.1
