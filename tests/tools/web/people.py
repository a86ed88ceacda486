"""People in pictures, drawn from the same body that the page shows."""

import cv2
import numpy as np
import torch

from kinestream.body.arrays import read_body
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_quat, quat_from_axis_angle
from kinestream.kernels.raster.overlay import overlay_meshes
from kinestream.pose import Person, PoseFrame
from kinestream.tools.web.page import Update

BODY = read_body()
MODEL = BodyModel(BODY)
KINEMATICS = CompiledKinematics.of(BODY)
CAMERA = Camera(320, 240, (300.0, 300.0), (150.0, 125.0))
UPRIGHT = np.float32([0, 1, 0, 0])
RED = (200, 30, 30)


def person(*, x_m: float = 0.0, track_id: int = 0, betas: np.ndarray | None = None) -> Person:
    """Somebody with one arm raised."""
    quats = np.tile(np.float32([1, 0, 0, 0]), (21, 1))
    quats[JOINT_NAMES.index("left_shoulder") - 1] = quat_from_axis_angle(np.float32([0, 0, 1.0]))
    quats[JOINT_NAMES.index("right_hip") - 1] = quat_from_axis_angle(np.float32([-0.6, 0, 0]))
    betas = np.zeros(10, np.float32) if betas is None else betas
    place = np.float32([x_m, 0.1, 3.0])
    KINEMATICS.set_shape(betas)
    joints, keypoints = KINEMATICS.pose(turns_of(UPRIGHT, quats), place)
    return Person(
        track_id=track_id,
        score=1.0,
        box_xyxy_px=np.float32([0, 0, 10, 10]),
        root_quat_wxyz=UPRIGHT,
        translation_m=place,
        joint_quats_wxyz=quats,
        betas=betas,
        joints_cam_m=joints,
        joint_std_m=np.full(24, 0.05),
        keypoints_cam_m=keypoints,
        keypoints_px=np.zeros((23, 3)),
    )


def mesh(someone: Person) -> np.ndarray:
    """The vertices of the body model in torch: what the page's skinned mesh must come to."""
    turns = turns_of(someone.root_quat_wxyz, someone.joint_quats_wxyz)
    with torch.inference_mode():
        arguments = (
            torch.tensor(a[None], dtype=torch.float32) for a in (someone.betas, turns, someone.translation_m)
        )
        return MODEL(*arguments).vertices_m[0].numpy()


def turns_of(root: np.ndarray, quats: np.ndarray) -> np.ndarray:
    """Local rotations (24, 3, 3)."""
    return matrix_from_quat(np.float32([root, *quats, [1, 0, 0, 0], [1, 0, 0, 0]]))


def drawn(people: list[Person]) -> np.ndarray:
    """A grey picture (240, 320, 3) with these people in red."""
    image = np.full((CAMERA.height_px, CAMERA.width_px, 3), 90, np.uint8)
    meshes = [mesh(someone) for someone in people]
    return overlay_meshes(image, meshes, BODY.faces, CAMERA.K, colours=[RED] * len(people), opacity=1.0)


def update(people: list[Person], *, index: int = 0, image: np.ndarray | None = None) -> Update:
    """What a sink would send."""
    poses = PoseFrame(frame_index=index, t_capture_ns=index, camera=CAMERA, persons=tuple(people))
    image = drawn(people) if image is None else image
    data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
    return Update(poses, data, {"Frame": str(index)})
