"""People to send."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kinestream.geometry.camera import Camera
from kinestream.pose import Person, PoseFrame


def make_person(track_id: int = 0, **changes: Any) -> Person:
    """A person whose numbers are short in decimals and all different."""

    def ramp(*shape: int, start: float) -> np.ndarray:
        return start + np.arange(np.prod(shape)).reshape(shape) / 64

    quats = np.zeros((21, 4))
    quats[:, 0] = 1
    fields: dict[str, Any] = {
        "track_id": track_id,
        "score": 0.75,
        "age_ns": 2_000_000_000,
        "box_xyxy_px": [10, 20, 110, 220],
        "root_quat_wxyz": [0, 1, 0, 0],
        "translation_m": [0.25, -0.5, 3],
        "joint_quats_wxyz": quats,
        "betas": ramp(10, start=-0.5),
        "joints_cam_m": ramp(24, 3, start=1),
        "joint_std_m": ramp(24, start=0),
        "keypoints_cam_m": ramp(23, 3, start=2),
        "keypoints_px": np.concatenate([ramp(23, 2, start=100), np.full((23, 1), 0.5)], 1),
        **changes,
    }
    return Person(**fields)


@pytest.fixture
def pose_frame() -> Callable[..., PoseFrame]:
    def make(*track_ids: int, frame_index: int = 41, **changes: Any) -> PoseFrame:
        return PoseFrame(
            frame_index=frame_index,
            t_capture_ns=1_366_666_666,
            camera=Camera(1280, 720, (1000.0, 1000.5), (639.5, 359.5), (0.125, -0.25, 0.0, 0.0)),
            persons=tuple(make_person(i, **changes) for i in track_ids),
        )

    return make
