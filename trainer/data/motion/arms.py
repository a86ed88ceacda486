"""What arm skeletons leave out: the shoulder girdle, and the turn of the upper arm about its bone."""

import numpy as np
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.trainer.data.motion.source import FloatArray, shortest_arc

COLLAR_SHARE_UP, COLLAR_SHARE_DOWN, COLLAR_SHARE_FORWARD = 0.30, 0.12, 0.15
"""Parts of the upper arm's elevation above, and below, the T-pose and of its swing that the girdle takes."""

HINGE_SWING = np.array([0.0, 0.5, 0.866])
"""Where a bending elbow moves the forearm, in the upper arm's frame in T-pose; as in CMU's skeletons."""


def infer_collar(chest: FloatArray, upper_arm: FloatArray, side: str) -> FloatArray:
    """Global rotation (T, 3, 3) of a collar that the source lacks, from chest and upper arm (global).

    The shoulder girdle takes a fixed share of the arm's elevation and forward swing (scapulohumeral rhythm);
    the upper arm's own global rotation is not changed by it.
    """
    sign = 1.0 if side == "left" else -1.0
    x, y, z = np.moveaxis((chest.transpose(0, 2, 1) @ upper_arm)[:, :, 0] * sign, -1, 0)
    elevation = np.arctan2(y, np.hypot(x, z))
    swing = np.arcsin(np.clip(z, -1.0, 1.0))
    lift = np.where(elevation > 0, COLLAR_SHARE_UP, COLLAR_SHARE_DOWN) * elevation
    vector = np.stack([np.zeros_like(lift), -COLLAR_SHARE_FORWARD * swing * sign, lift * sign], axis=1)
    turned: FloatArray = chest @ Rotation.from_rotvec(vector).as_matrix()
    return turned


def hinge_elbow(global_rotations: FloatArray, side: str) -> None:
    """Turn upper arm and forearm of (T, 22, 3, 3) about their bones, in place, so that the elbow is a hinge.

    Bone directions stay. Where the elbow is nearly straight the turn fades to none, since nothing
    determines it.
    """
    shoulder = JOINT_NAMES.index(f"{side}_shoulder")
    elbow, wrist = JOINT_NAMES.index(f"{side}_elbow"), JOINT_NAMES.index(f"{side}_wrist")
    along = np.array([1.0 if side == "left" else -1.0, 0.0, 0.0])
    upper = global_rotations[:, shoulder]
    bone = global_rotations[:, elbow] @ along
    x, y, z = np.moveaxis(np.einsum("tij,ti->tj", upper, bone), -1, 0)
    turn = np.arctan2(z, y) - np.arctan2(HINGE_SWING[2], HINGE_SWING[1])
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    bend = np.arctan2(np.hypot(y, z), x * along[0])
    fade = np.clip(bend / np.radians(20.0), 0.0, 1.0)
    upper = upper @ Rotation.from_rotvec(np.outer(fade * turn, (1.0, 0.0, 0.0))).as_matrix()
    local = np.stack([shortest_arc(along, direction) for direction in np.einsum("tij,ti->tj", upper, bone)])
    global_rotations[:, shoulder] = upper
    global_rotations[:, elbow] = global_rotations[:, wrist] = upper @ local
