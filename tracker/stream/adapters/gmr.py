"""People as General Motion Retargeting takes them (GMR, github.com/YanjieZe/GMR), to drive humanoid robots.

    retarget = GeneralMotionRetargeting(src_human="smplx", tgt_robot="unitree_g1")
    for message in Subscriber(latest=True):
        for human in human_frames(message).values():
            qpos = retarget.retarget(human)

GMR's ``smplx`` configurations name SMPL's joints, with its axes at rest: x to the person's left, y up, z
forward. The world has z up: x to the camera's right, y forward.
"""

import dataclasses
from typing import TypeAlias

import numpy as np

from kinestream.body.orientations import joint_orientations
from kinestream.body.skeleton import JOINT_NAMES
from kinestream.geometry.quaternion import from_matrix, multiply
from kinestream.kernels.array_types import Float64Array
from kinestream.stream.axes import OutputFrame
from kinestream.stream.message import PoseMessage

HumanFrame: TypeAlias = dict[str, tuple[Float64Array, Float64Array]]
"""For each of the 24 joints its place (3,) in metres, and its orientation (4,) as a quaternion wxyz."""


def human_frames(message: PoseMessage) -> dict[int, HumanFrame]:
    """Everybody in a message of any axes, by track id, in a world with z up.

    Level where the message says how the camera is held (``--tilt``), and with ``--tilt auto`` 0 on the floor;
    else the camera is taken as level, and positions count from it.
    """
    told = message.output
    world = OutputFrame("blender", tilt_rad=told.tilt_rad, roll_rad=told.roll_rad)
    if message.frame.ground is not None:
        world = dataclasses.replace(world, origin="floor").on(message.frame.ground)
    turn = from_matrix(world.world)
    humans = {}
    for person in told.restore(message.frame):
        quats = joint_orientations(multiply(turn, person.root_quat_wxyz), person.joint_quats_wxyz)
        places_m = person.joints_cam_m @ world.world.T + world.eye
        humans[person.track_id] = {
            name: (place_m, quat / np.linalg.norm(quat))
            for name, place_m, quat in zip(JOINT_NAMES, places_m, quats, strict=True)
        }
    return humans
