"""BVH, read back by the loader of motion capture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES, PARENTS
from kinestream.tools.export.bvh import euler_zxy, steady
from kinestream.trainer.data.motion.bvh import load_bvh

Written = Callable[..., list[Path]]
FLIP = np.array([1, -1, -1])
"""Camera frame to y up."""


def test_bvh(written: Written, archive: Path, walk: Any, tmp_path: Path) -> None:
    paths = written(archive, tmp_path, "bvh")
    assert [path.name for path in paths] == [f"walk.{name}.bvh" for name in walk.takes]
    for path, (track_id, first, last) in zip(paths, walk.takes.values(), strict=True):
        motion = load_bvh(path)
        assert motion.fps == pytest.approx(25) and set(motion.joint_names) == set(JOINT_NAMES)
        joints = np.zeros((len(motion.root_translation_m), 24, 3))
        for i, (name, parent) in enumerate(zip(motion.joint_names, motion.parents, strict=True)):
            assert parent < 0 or motion.joint_names[parent] == JOINT_NAMES[PARENTS[JOINT_NAMES.index(name)]]
            if parent < 0:
                joints[:, i] = motion.root_translation_m
            else:
                turn = motion.global_rotations[:, parent]
                joints[:, i] = joints[:, parent] + turn @ motion.offsets_m[i]
        assert len(joints) == last - first + 1, "the missing frame is filled in"
        expected = walk.seen(track_id, first, last)
        at = expected["frame_index"] - first
        order = [motion.joint_names.index(name) for name in JOINT_NAMES]
        np.testing.assert_allclose(joints[at][:, order], expected["joints_cam_m"] * FLIP, atol=2e-4)


def test_a_missing_frame_lies_halfway(written: Written, archive: Path, walk: Any, tmp_path: Path) -> None:
    motion = load_bvh(written(archive, tmp_path, "bvh")[0])
    before, after = (walk.seen(0, i, i)[0] for i in (6, 8))
    middle = (before["translation_m"] + after["translation_m"]) / 2 * FLIP
    np.testing.assert_allclose(motion.root_translation_m[7], middle, atol=1e-4)
    roots = Rotation.from_matrix(motion.global_rotations[[6, 7, 8], 0])
    step, whole = (roots[0].inv() * roots[1]).magnitude(), (roots[0].inv() * roots[2]).magnitude()
    assert whole > 0.01 and step == pytest.approx(whole / 2, rel=1e-3)


def test_euler_angles_against_scipy() -> None:
    rotations = Rotation.random(500, random_state=1)
    angles = euler_zxy(rotations.as_matrix())
    again = Rotation.from_euler("ZXY", angles)
    assert (again.inv() * rotations).magnitude().max() < 1e-6
    locked = Rotation.from_euler("ZXY", [[0.3, np.pi / 2, 0.4], [-2.0, -np.pi / 2, 1.0]])
    again = Rotation.from_euler("ZXY", euler_zxy(locked.as_matrix()))
    assert (again.inv() * locked).magnitude().max() < 1e-6


def test_angles_do_not_flip_past_a_quarter_turn() -> None:
    """A kick: the hip bends from 40 to 140 degrees, slightly twisted; then three turns on the spot."""
    degrees = np.array([[10.0, bend, 5.0] for bend in range(40, 144, 4)])
    plain = euler_zxy(Rotation.from_euler("ZXY", degrees, degrees=True).as_matrix())
    assert np.abs(np.diff(np.unwrap(plain, axis=0), axis=0)).max() > 1, "as they come, they flip"
    np.testing.assert_allclose(np.degrees(steady(plain)), degrees, atol=1e-6)
    spin = np.array([[0.0, 0.0, turn] for turn in range(0, 1080, 30)])
    plain = euler_zxy(Rotation.from_euler("ZXY", spin, degrees=True).as_matrix())
    np.testing.assert_allclose(np.degrees(steady(plain[:, None]))[:, 0], spin, atol=1e-6)
