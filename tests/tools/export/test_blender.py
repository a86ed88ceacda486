"""Exports opened in Blender: rest pose, scale, rate, floor, and no flips between frames.

Needs Blender as a Python module (``pip install bpy``, for the one Python it is made for): in this Python, or
in the one that the variable KINESTREAM_BLENDER_PYTHON names.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from kinestream.body.arrays import DEFAULT_BODY_PATH, load_body_arrays
from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES
from kinestream.tools.export import read_tracks
from kinestream.tools.export.motion import grounded, mean_betas, rest_joints

PYTHON = os.environ.get("KINESTREAM_BLENDER_PYTHON") or (
    sys.executable if importlib.util.find_spec("bpy") else ""
)
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="needs Blender: pip install bpy in a Python that KINESTREAM_BLENDER_PYTHON names"
)
Written = Callable[..., list[Path]]
FPS = 25


def seen(path: Path, *more: object) -> Any:
    """What Blender has of a file."""
    out = path.with_suffix(".seen.npz")
    command = [PYTHON, Path(__file__).with_name("in_blender.py"), path, FPS, out, *more]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return np.load(out)


def floor_up(points_m: np.ndarray) -> np.ndarray:
    """Level camera axes (y down) to Blender's: z up, y away from the viewer."""
    return points_m[..., [0, 2, 1]] * [1, 1, -1]


def rest_in_blender(body: BodyModel, track: Any) -> np.ndarray:
    """Of the body at rest (y up, z forward), which faces the viewer."""
    return rest_joints(body, mean_betas(track))[:, [0, 2, 1]] * [1, -1, 1]


def assert_no_flips(turns: np.ndarray) -> None:
    """Halfway between two frames each bone is about halfway between its turns there."""
    before, halfway, after = (
        Rotation.from_quat(turns[i:j:2].reshape(-1, 4), scalar_first=True)
        for i, j in ((0, -2), (1, None), (2, None))
    )
    step = (before.inv() * after).magnitude()
    assert 0.1 < step.max() < 1, "they move, and never by much"
    middle = before * Rotation.from_rotvec((before.inv() * after).as_rotvec() / 2)
    assert ((middle.inv() * halfway).magnitude() < 0.3 * step + 0.02).all()


def test_bvh_and_amass(written: Written, archive: Path, body: BodyModel, tmp_path: Path) -> None:
    track = read_tracks(archive)[0]
    level = np.eye(3)
    (bvh, *_), (amass, *_) = (
        written(archive, tmp_path, name, ground=True, tilt_deg=0.0) for name in ("bvh", "amass")
    )
    rest = rest_joints(body, mean_betas(track))
    pelvis = ",".join(map(str, rest[0]))
    found = seen(bvh, amass, ",".join(JOINT_NAMES[:22]), pelvis)
    order = [list(found["names_0"]).index(name) for name in JOINT_NAMES]
    assert found["fps"] == FPS
    np.testing.assert_array_equal(found["frames_0"][[0, -1]], [1, 90])
    at_rest = rest_in_blender(body, track)
    np.testing.assert_allclose(found["rest_0"][order], at_rest - at_rest[0], atol=1e-4)
    rows = grounded(track, level).rows
    expected = floor_up(rows["joints_cam_m"])
    at = 2 * rows["frame_index"]
    np.testing.assert_allclose(found["heads_0"][at][:, order], expected, atol=1e-3)
    tenth = np.isin(rows["frame_index"], np.arange(0, 90, 10))
    driven = found["amass_heads"][:, order]
    np.testing.assert_allclose(driven[:, :22], expected[tenth, :22], atol=1e-3)
    assert_no_flips(found["turns_0"])


def test_glb(written: Written, recording: Path, body: BodyModel, tmp_path: Path) -> None:
    (path,) = written(recording, tmp_path, "glb", ground=True, tilt_deg=0.0)
    found = seen(path)
    plain = BodyModel(replace(load_body_arrays(DEFAULT_BODY_PATH), posedirs=None))
    for number, track in enumerate(read_tracks(recording)):
        names = [name.rsplit(" ", 1)[0] for name in found[f"names_{number}"]]
        order = [names.index(name) for name in JOINT_NAMES]
        rest = rest_in_blender(body, track)
        np.testing.assert_allclose(
            found[f"rest_{number}"][order] - found[f"rest_{number}"][order[0]], rest - rest[0], atol=1e-4
        )
        rows = grounded(track, np.eye(3)).rows
        at = np.searchsorted(found[f"frames_{number}"], rows["frame_index"] - 1e-3)
        heads = found[f"heads_{number}"][:, order]
        np.testing.assert_allclose(heads[at], floor_up(rows["joints_cam_m"]), atol=1e-3)
        if number:
            away = (found[f"frames_{number}"] > 20) & (found[f"frames_{number}"] < 69)
            assert np.ptp(heads[away], axis=1).max() < 1e-4, "nothing is seen of somebody who is away"
        else:
            assert_no_flips(found["turns_0"])
        (row,) = rows[rows["frame_index"] == 12]
        rotations = np.tile(np.eye(3), (1, 24, 1, 1))
        quats = np.concatenate([row["root_quat_wxyz"][None], row["joint_quats_wxyz"]])
        rotations[0, :22] = Rotation.from_quat(quats, scalar_first=True).as_matrix()
        mesh = plain(
            torch.tensor(mean_betas(track), dtype=torch.float32)[None],
            torch.tensor(rotations, dtype=torch.float32),
            torch.tensor(row["translation_m"])[None],
        )
        vertices = found[f"person {track.track_id} mesh"]
        np.testing.assert_allclose(vertices, floor_up(mesh.vertices_m[0].numpy()), atol=1e-3)
