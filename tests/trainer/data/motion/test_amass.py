"""AMASS-format archives: keys, widths, the z-up world, and errors that name the key."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.trainer.data.motion.amass import load_amass
from kinestream.trainer.data.motion.source import MocapError


def write(path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "poses": np.zeros((4, 156)),
        "trans": np.arange(12.0).reshape(4, 3),
        "mocap_framerate": np.array(120.0),
    }
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize("width", [72, 156, 165])
def test_reads_smpl_smplh_and_smplx_layouts(tmp_path: Path, width: int) -> None:
    generator = np.random.default_rng(0)
    poses = generator.normal(scale=0.5, size=(4, width))
    clip = load_amass(write(tmp_path / "a.npz", poses=poses))
    assert clip.rotations.shape == (4, 22, 3, 3)
    expected = Rotation.from_rotvec(poses[2, 15:18]).as_matrix()
    np.testing.assert_allclose(clip.rotations[2, 5], expected, atol=1e-12)
    assert clip.fps == 120.0


def test_the_world_becomes_y_up(tmp_path: Path) -> None:
    # standing in a z-up world: the body's y axis along the world's z
    poses = np.zeros((4, 156))
    poses[:, 0] = np.pi / 2
    clip = load_amass(write(tmp_path / "a.npz", poses=poses))
    np.testing.assert_allclose(clip.rotations[0, 0], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(clip.root_translation_m[0], [0.0, 2.0, -1.0])


def test_the_other_spelling_of_the_frame_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", mocap_framerate=None, mocap_frame_rate=np.array(60.0))
    assert load_amass(path).fps == 60.0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"poses": None}, "poses"),
        ({"trans": None}, "trans"),
        ({"mocap_framerate": None}, "mocap_framerate"),
        ({"poses": np.zeros((4, 63))}, "poses"),
        ({"poses": np.full((4, 156), np.nan)}, "poses"),
        ({"trans": np.zeros((3, 3))}, "trans"),
        ({"trans": np.array(["a", "b"])}, "trans"),
        ({"mocap_framerate": np.array(0.0)}, "mocap_framerate"),
        ({"poses": np.array([None, {}], dtype=object)}, "poses"),
    ],
)
def test_broken_archives_name_file_and_key(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(MocapError) as error:
        load_amass(path)
    assert f"{path}, key '{key}':" in str(error.value)


def test_truncated_and_foreign_files_are_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz")
    whole = path.read_bytes()
    for count in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:count])
        with pytest.raises(MocapError, match=r"a\.npz"):
            load_amass(path)
