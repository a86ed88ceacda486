"""DeepMimic motions: axes, hinges, quaternions that are not of unit length, uneven frames, errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinestream.trainer.data.motion.deepmimic import load_deepmimic
from kinestream.trainer.data.motion.retarget import retarget
from kinestream.trainer.data.motion.source import MocapError

UNIT = [1.0, 0.0, 0.0, 0.0]


def frame(
    duration: float = 0.05, *, knee: float = 0.0, elbow: float = 0.0, x: float = 0.0, chest: Any = None
) -> list[float]:
    leg, arm = [*UNIT, knee, *UNIT], [*UNIT, elbow]
    return [duration, x, 0.9, 0.0, *UNIT, *(chest or UNIT), *UNIT, *leg, *arm, *leg, *arm]


def write(path: Path, frames: list[list[float]]) -> Path:
    path.write_text(json.dumps({"Loop": "wrap", "Frames": frames}))
    return path


def test_the_zero_pose_hangs_its_arms(tmp_path: Path) -> None:
    clip = retarget(load_deepmimic(write(tmp_path / "a.json", [frame()] * 3)))
    joints = clip.joints_m()[0]
    left_arm, right_arm = joints[20] - joints[16], joints[21] - joints[17]
    for arm in (left_arm, right_arm):
        assert arm[1] < -0.45
        assert np.abs(arm[[0, 2]]).max() < 0.03
    assert joints[16, 0] > 0.1  # left is +x when facing +z
    assert joints[10, 2] > joints[7, 2] + 0.1  # toes point to +z


def test_knees_bend_back_and_elbows_forward(tmp_path: Path) -> None:
    clip = retarget(load_deepmimic(write(tmp_path / "a.json", [frame(knee=-1.2, elbow=1.2)] * 3)))
    joints = clip.joints_m()[0]
    assert joints[7, 2] < joints[4, 2] - 0.2
    assert joints[8, 2] < joints[5, 2] - 0.2
    assert joints[20, 2] > joints[18, 2] + 0.15
    assert joints[21, 2] > joints[19, 2] + 0.15


def test_forward_is_x_in_the_file_and_z_here(tmp_path: Path) -> None:
    clip = retarget(load_deepmimic(write(tmp_path / "a.json", [frame(x=0.0), frame(x=0.5), frame(x=1.0)])))
    moved = clip.root_translation_m[2] - clip.root_translation_m[0]
    assert moved[2] == pytest.approx(1.0, rel=0.1)
    assert np.abs(moved[:2]).max() < 1e-9


def test_quaternions_of_any_length(tmp_path: Path) -> None:
    motion = load_deepmimic(write(tmp_path / "a.json", [frame(chest=[1.2, 0.0, 0.0, 0.5])] * 3))
    rotation = motion.global_rotations[0, 1]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_uneven_frames_become_uniform_and_the_last_duration_is_ignored(tmp_path: Path) -> None:
    frames = [
        frame(0.05, x=0.0),
        frame(0.1, x=0.05),
        frame(0.05, x=0.15),
        frame(0.05, x=0.2),
        frame(0.0, x=0.25),
    ]
    motion = load_deepmimic(write(tmp_path / "a.json", frames))
    assert motion.fps == pytest.approx(20.0)
    np.testing.assert_allclose(np.diff(motion.root_translation_m[:, 2]), 0.05, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1"),
        ("[]", "key 'Frames'"),
        ('{"Frames": []}', "key 'Frames'"),
        ('{"Frames": [[1, 2]]}', "frame 0"),
        (json.dumps({"Frames": [frame(), [*frame()[:-1], "x"]]}), "frame 1"),
        (
            json.dumps({"Frames": [frame(), frame(chest=[0.0, 0.0, 0.0, 0.0])]}),
            "frame 1: quaternion of 'chest'",
        ),
        (json.dumps({"Frames": [frame(), frame(-1.0), frame()]}), "frame 1: duration"),
    ],
)
def test_broken_files_name_file_and_place(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(MocapError, match=message) as error:
        load_deepmimic(path)
    assert str(path) in str(error.value)
