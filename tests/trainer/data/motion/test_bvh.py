"""BVH files: hierarchy, channel orders, positions, and errors that name file and line."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.trainer.data.motion.bvh import load_bvh
from kinestream.trainer.data.motion.source import MocapError

BVH = """HIERARCHY
ROOT hip
{
  OFFSET 1 2 3
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT knee
  {
    OFFSET 0 -40 0
    CHANNELS 6 Xposition Yposition Zposition Yrotation Xrotation Zrotation
    JOINT ankle
    {
      OFFSET 0 -40 1
      CHANNELS 3 Zrotation Xrotation Yrotation
      End Site
      {
        OFFSET 0 -5 12
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.025
10 20 30 10 20 30 0 -41 0 40 50 60 70 80 -20
11 20 30 0 0 0 0 -41 0 0 0 0 0 0 0
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "walk.bvh"
    file.write_text(BVH)
    return file


def test_reads_hierarchy_rates_and_units(path: Path) -> None:
    motion = load_bvh(path, unit_m=0.01)
    assert motion.joint_names == ("hip", "knee", "ankle")
    assert motion.parents == (-1, 0, 1)
    assert motion.fps == pytest.approx(40.0)
    np.testing.assert_allclose(motion.end_offsets_m["ankle"], [0, -0.05, 0.12])


def test_rotations_are_intrinsic_in_file_order(path: Path) -> None:
    motion = load_bvh(path)
    root = Rotation.from_euler("ZYX", [10, 20, 30], degrees=True)
    knee = root * Rotation.from_euler("YXZ", [40, 50, 60], degrees=True)
    ankle = knee * Rotation.from_euler("ZXY", [70, 80, -20], degrees=True)
    for index, expected in enumerate((root, knee, ankle)):
        np.testing.assert_allclose(motion.global_rotations[0, index], expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(motion.global_rotations[1], np.eye(3)[None].repeat(3, 0), atol=1e-12)


def test_root_position_adds_to_its_offset_and_inner_positions_replace_theirs(path: Path) -> None:
    motion = load_bvh(path, unit_m=0.01)
    np.testing.assert_allclose(motion.root_translation_m, [[0.11, 0.22, 0.33], [0.12, 0.22, 0.33]])
    np.testing.assert_allclose(motion.offsets_m, [[0, 0, 0], [0, -0.41, 0], [0, -0.40, 0.01]])


def test_an_offset_that_repeats_the_first_position_is_not_added(path: Path) -> None:
    path.write_text(BVH.replace("OFFSET 1 2 3", "OFFSET 10 20 30"))
    motion = load_bvh(path, unit_m=0.01)
    np.testing.assert_allclose(motion.root_translation_m, [[0.10, 0.20, 0.30], [0.11, 0.20, 0.30]])


def test_positions_follow_the_hierarchy(path: Path) -> None:
    positions = load_bvh(path, unit_m=0.01).positions_m()
    np.testing.assert_allclose(positions[1, 2] - positions[1, 0], [0, -0.81, 0.01], atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("HIERARCHY", "HIERACHY", 1, "HIERARCHY"),
        ("OFFSET 0 -40 1", "OFFSET 0 x 1", 12, "could not convert"),
        ("OFFSET 0 -40 1", "OFFSET 0 -40", 12, "expected 3"),
        ("JOINT ankle", "JOINT hip", 10, "occurs twice"),
        ("CHANNELS 3 Zrotation", "CHANNELS 4 Zrotation", 13, "CHANNELS"),
        ("CHANNELS 3 Zrotation", "CHANNELS 3 Wrotation", 13, "CHANNELS"),
        ("Frames: 2", "Frames: two", 22, "Frames"),
        ("Frames: 2", "Frames: 3", 25, "ends where"),
        ("Frames: 2", "Frames: 1", 25, "more rows"),
        ("Frame Time: 0.025", "Frame Time: 0", 23, "positive"),
        ("70 80 -20", "70 80", 24, "expected 15"),
        ("70 80 -20", "70 nan -20", 24, "finite"),
        ("MOTION", "}\nMOTION", 21, "'}' without"),
    ],
)
def test_broken_files_name_file_and_line(path: Path, old: str, new: str, line: int, message: str) -> None:
    path.write_text(BVH.replace(old, new, 1))
    with pytest.raises(MocapError, match=message) as error:
        load_bvh(path)
    assert f"{path}, line {line}:" in str(error.value)


def test_truncated_anywhere_is_an_error(path: Path) -> None:
    lines = BVH.splitlines()
    for count in range(len(lines)):
        path.write_text("\n".join(lines[:count]))
        with pytest.raises(MocapError):
            load_bvh(path)


def test_binary_is_an_error(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(MocapError, match="not a text file"):
        load_bvh(path)
