"""Acclaim skeletons and motions: bone axes, degrees of freedom, units, errors with file and line."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.trainer.data.motion.asf_amc import load_amc, load_asf
from kinestream.trainer.data.motion.source import MocapError

ASF = """:version 1.10
:units
  mass 1.0
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name hipjoint
     direction 1 0 0
     length 2
     axis 0 0 0  XYZ
  end
  begin
     id 2
     name femur
     direction 0 -1 0
     length 7
     axis 10 20 30  XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 3
     name tibia
     direction 0 -1 0
     length 6
     axis 0 0 45 XYZ
    dof rx
  end
:hierarchy
  begin
    root hipjoint
    hipjoint femur
    femur tibia
  end
"""
AMC = """#!OML:ASF x.asf
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 10 20 30
femur 5 6 7
tibia 40
2
root 0 0 0 0 0 0
femur 0 0 0
tibia 90
"""
UNIT_M = 0.0254 / 0.45


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    asf, amc = tmp_path / "01.asf", tmp_path / "01_01.amc"
    asf.write_text(ASF)
    amc.write_text(AMC)
    return asf, amc


def test_local_rotation_is_axis_times_motion_times_axis_transposed(files: tuple[Path, Path]) -> None:
    motion = load_amc(files[1], files[0], fps=60.0)
    assert motion.joint_names == ("root", "hipjoint", "femur", "tibia")
    root = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    axis = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    femur = root * axis * Rotation.from_euler("xyz", [5, 6, 7], degrees=True) * axis.inv()
    spin = Rotation.from_euler("z", 45, degrees=True)
    tibia = femur * spin * Rotation.from_euler("x", 40, degrees=True) * spin.inv()
    for index, expected in ((0, root), (1, root), (2, femur), (3, tibia)):
        np.testing.assert_allclose(motion.global_rotations[0, index], expected.as_matrix(), atol=1e-12)


def test_a_joint_is_where_its_bone_begins(files: tuple[Path, Path]) -> None:
    positions = load_amc(files[1], files[0], fps=60.0).positions_m()
    np.testing.assert_allclose(positions[0, 0], np.array([1, 2, 3]) * UNIT_M)
    # second frame: no rotation but the knee's, so hip joint and knee are at their zero places
    np.testing.assert_allclose(
        positions[1, 1:], np.array([(0, 0, 0), (2, 0, 0), (2, -7, 0)]) * UNIT_M, atol=1e-12
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("tibia 40", "tibia forty", 7, "could not convert"),
        ("tibia 40", "tibia 40 50", 7, "needs 1"),
        ("tibia 40", "tibula 40", 7, "tibula"),
        ("tibia 40\n", "", 7, "frame 1 lacks tibia"),
        ("tibia 90\n", "", 10, "frame 2 lacks tibia"),
        ("femur 0 0 0", "femur 0 inf 0", 10, "finite"),
        ("femur 5 6 7", "femur 5 6 7\nfemur 5 6 7", 7, "twice"),
    ],
)
def test_broken_motions_name_file_and_line(
    files: tuple[Path, Path], old: str, new: str, line: int, message: str
) -> None:
    files[1].write_text(AMC.replace(old, new, 1))
    with pytest.raises(MocapError, match=message) as error:
        load_amc(files[1], files[0], fps=60.0)
    assert f"{files[1]}, line {line}:" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("direction 0 -1 0", "direction 0 -1", 22, "expected 3"),
        ("dof rx ry rz", "dof rx tx rz", 25, "dof"),
        ("axis 0 0 45 XYZ", "axis 0 0 45 ZYX", 35, "axis order"),
        ("femur tibia", "femur shin", 42, "shin"),
        ("order TX TY", "order TX TX", 7, "root order"),
    ],
)
def test_broken_skeletons_name_file_and_line(
    files: tuple[Path, Path], old: str, new: str, line: int, message: str
) -> None:
    files[0].write_text(ASF.replace(old, new, 1))
    with pytest.raises(MocapError, match=message) as error:
        load_asf(files[0])
    assert f"{files[0]}, line {line}:" in str(error.value)


def test_empty_and_foreign_files_are_errors(files: tuple[Path, Path]) -> None:
    files[1].write_text("")
    with pytest.raises(MocapError, match="no frame"):
        load_amc(files[1], files[0], fps=60.0)
    files[0].write_text("HIERARCHY\n")
    with pytest.raises(MocapError, match="ASF"):
        load_asf(files[0])


def test_comments_may_be_in_any_encoding_but_names_may_not(files: tuple[Path, Path]) -> None:
    asf, amc = files
    expected = load_amc(amc, asf, fps=60.0)
    amc.write_bytes(b"# Universit\xe4t\n" + AMC.encode())
    np.testing.assert_array_equal(load_amc(amc, asf, fps=60.0).global_rotations, expected.global_rotations)
    amc.write_bytes(AMC.encode().replace(b"tibia 40", b"tib\xe4 40"))
    with pytest.raises(MocapError, match=r"01_01\.amc, line 7: not a text file"):
        load_amc(amc, asf, fps=60.0)
