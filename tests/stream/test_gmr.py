"""What General Motion Retargeting gets of a message, whatever its axes, against scipy's rotations."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES, PARENTS
from kinestream.geometry.level import Ground
from kinestream.pose import PoseFrame
from kinestream.stream import OutputFrame, PoseMessage
from kinestream.stream.adapters import human_frames
from kinestream.stream.publisher import new_identity

Make = Callable[..., PoseFrame]
GROUND = Ground(tilt_rad=0.4, roll_rad=-0.3, std_rad=0.05, height_m=1.5, height_std_m=0.1)
NO_TURN = [0.5, -0.5, -0.5, -0.5]
"""GMR's offset from SMPL's pelvis to a robot's (x forward, y left, z up), in its smplx_to_g1.json."""


def message(frame: PoseFrame, output: OutputFrame) -> PoseMessage:
    """A message as a reader has it."""
    return PoseMessage(
        identity=new_identity("a test"),
        sequence=0,
        t_publish_ns=0,
        clock="monotonic",
        lead_ns=0,
        dropped=0,
        corrupt=0,
        frame=output.apply(frame),
        output=output,
    )


@pytest.mark.parametrize(
    "output",
    [
        OutputFrame(),
        OutputFrame("unity"),
        OutputFrame("ros", origin="floor").on(GROUND),
        OutputFrame("blender", origin="hips").on(GROUND),
    ],
)
def test_bodies_in_a_level_world(pose_frame: Make, output: OutputFrame) -> None:
    rotations = Rotation.random(22, random_state=6)
    joints = np.random.default_rng(6).normal(size=(24, 3)) + [0, 0, 4]
    quats = rotations.as_quat(scalar_first=True)
    frame = pose_frame(
        3,
        8,
        root_quat_wxyz=quats[0],
        joint_quats_wxyz=quats[1:],
        joints_cam_m=joints,
        translation_m=joints[0],
    )
    humans = human_frames(message(replace(frame, ground=GROUND), output))
    assert set(humans) == {3, 8} and tuple(humans[3]) == JOINT_NAMES
    up = GROUND.up
    ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
    ahead /= np.linalg.norm(ahead)
    world = np.stack([np.cross(ahead, up), ahead, up])
    turns = [Rotation.from_matrix(world) * rotations[0]]
    for joint in range(1, 24):
        turns.append(turns[PARENTS[joint]] * (rotations[joint] if joint < 22 else Rotation.identity()))
    for joint, name in enumerate(JOINT_NAMES):
        place_m, quat = humans[8][name]
        np.testing.assert_allclose(place_m, world @ joints[joint] + [0, 0, GROUND.height_m], atol=1e-5)
        assert (Rotation.from_quat(quat, scalar_first=True).inv() * turns[joint]).magnitude() < 1e-5


def test_upright_and_facing_the_camera_by_hand(pose_frame: Make) -> None:
    """A robot's pelvis then looks back at the camera, upright."""
    (human,) = human_frames(message(pose_frame(0, root_quat_wxyz=[0, 1, 0, 0]), OutputFrame())).values()
    pelvis = Rotation.from_quat(human["pelvis"][1], scalar_first=True)
    robot = pelvis * Rotation.from_quat(NO_TURN, scalar_first=True)
    np.testing.assert_allclose(robot.apply(np.eye(3)), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-6)
