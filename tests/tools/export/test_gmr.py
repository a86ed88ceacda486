"""The bodies for General Motion Retargeting, against scipy's rotations and GMR's own offsets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES, PARENTS

Written = Callable[..., list[Path]]


def test_gmr(written: Written, archive: Path, walk: Any, tmp_path: Path) -> None:
    paths = written(archive, tmp_path, "gmr")
    assert [path.name for path in paths] == [f"walk.{name}.gmr.npz" for name in walk.takes]
    to_z_up = Rotation.from_euler("x", -90, degrees=True)
    for path, (track_id, first, last) in zip(paths, walk.takes.values(), strict=True):
        content = np.load(path)
        assert content["fps"] == pytest.approx(25) and tuple(content["body_names"]) == JOINT_NAMES
        assert content["position_m"].shape == (last - first + 1, 24, 3)
        expected = walk.seen(track_id, first, last)
        at = expected["frame_index"] - first
        up = to_z_up.apply(expected["joints_cam_m"].reshape(-1, 3)).reshape(-1, 24, 3)
        np.testing.assert_allclose(content["position_m"][at], up, atol=1e-5)
        quats = content["quat_wxyz"]
        turns = [to_z_up * Rotation.from_quat(expected["root_quat_wxyz"], scalar_first=True)]
        for joint in range(1, 22):
            local = Rotation.from_quat(expected["joint_quats_wxyz"][:, joint - 1], scalar_first=True)
            turns.append(turns[PARENTS[joint]] * local)
        for joint, turn in enumerate(turns):
            found = Rotation.from_quat(quats[at, joint], scalar_first=True)
            assert (found.inv() * turn).magnitude().max() < 1e-5
