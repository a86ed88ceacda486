"""Where each joint is turned, seen from outside: the chain of rotations from the root to the hands."""

import numpy as np

from kinestream.body.skeleton import NUM_FLOW_JOINTS, PARENTS
from kinestream.geometry.quaternion import multiply
from kinestream.kernels.array_types import AnyArray, Float64Array


def joint_orientations(root_quat_wxyz: AnyArray, joint_quats_wxyz: AnyArray) -> Float64Array:
    """Quaternions (..., 24, 4) from the rest pose to the frame of the root; hands go with the wrists.

    Args:
        root_quat_wxyz: (..., 4).
        joint_quats_wxyz: (..., 21, 4) of joints 1 to 21 relative to their parents.
    """
    turns = [np.asarray(root_quat_wxyz, np.float64)]
    for joint, parent in enumerate(PARENTS[1:]):
        turn = turns[parent]
        turns.append(multiply(turn, joint_quats_wxyz[..., joint, :]) if joint < NUM_FLOW_JOINTS else turn)
    return np.stack(turns, axis=-2)
