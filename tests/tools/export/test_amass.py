"""AMASS, read back by its loader and by the definition of the layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import PARENTS
from kinestream.trainer.data.motion.amass import load_amass

Written = Callable[..., list[Path]]
FLIP = np.array([1, -1, -1])
"""Camera frame to y up."""


def test_amass(written: Written, archive: Path, walk: Any, body: BodyModel, tmp_path: Path) -> None:
    """Read by our loader, and by the layout's definition with the body's rest joints."""
    paths = written(archive, tmp_path, "amass")
    for path, (track_id, first, last) in zip(paths, walk.takes.values(), strict=True):
        content = np.load(path)
        count = last - first + 1
        assert content["poses"].shape == (count, 156) and content["betas"].shape == (16,)
        assert float(content["mocap_framerate"]) == pytest.approx(25)
        assert not content["poses"][:, 66:].any(), "hands rest"
        assert float(content["mocap_frame_rate"]) == pytest.approx(25), (
            "as GMR and Blender's add-on ask for it"
        )
        np.testing.assert_array_equal(content["root_orient"], content["poses"][:, :3])
        np.testing.assert_array_equal(content["pose_body"], content["poses"][:, 3:66])
        assert content["pose_hand"].shape == (count, 90) and content["trans"].shape == (count, 3)
        assert str(content["gender"]) == "neutral" and str(content["surface_model_type"]) == "smplh"
        assert content["mocap_frame_rate"].item() == 25, "a number, not a list"
        expected = walk.seen(track_id, first, last)
        local = (
            Rotation.from_rotvec(content["poses"][:, :66].reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3)
        )
        betas = torch.tensor(content["betas"][:10], dtype=torch.float32)[None]
        rest = (body.joint_template + (betas @ body.joint_shapedirs).view(24, 3)).numpy()
        joints, turns = [content["trans"] + rest[0]], [local[:, 0]]
        for j in range(1, 22):
            joints.append(joints[PARENTS[j]] + turns[PARENTS[j]] @ (rest[j] - rest[PARENTS[j]]))
            turns.append(turns[PARENTS[j]] @ local[:, j])
        up = expected["joints_cam_m"][:, :22][..., [0, 2, 1]] * [1, 1, -1]
        at = expected["frame_index"] - first
        np.testing.assert_allclose(np.stack(joints, 1)[at], up, atol=1e-4)
        clip = load_amass(path)
        assert clip.fps == pytest.approx(25) and len(clip.root_translation_m) == count
        facing = clip.rotations[at, 0] @ [0, 0, 1]
        root = Rotation.from_quat(expected["root_quat_wxyz"][:, [1, 2, 3, 0]])
        np.testing.assert_allclose(facing, root.apply([0, 0, 1]) * FLIP, atol=1e-5)
