"""Left and right exchanged, as in a mirror at the plane x = 0."""

from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import MIRROR_JOINTS, NUM_FLOW_JOINTS

MIRROR_QUAT: Final = np.array([1.0, 1.0, -1.0, -1.0], np.float32)
"""Signs of a quaternion's w, x, y, z."""
MIRROR_POSITION: Final = np.array([-1.0, 1.0, 1.0], np.float32)


def mirror_rotations(rotations: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Exchange left and right of local rotations (..., 22, 3, 3), or (..., 21, 3, 3) without the root."""
    first = 1 + NUM_FLOW_JOINTS - rotations.shape[-3]
    if first not in (0, 1):
        raise ValueError(f"expected 22 or 21 joints, found {rotations.shape[-3]}")
    order = np.array(MIRROR_JOINTS[first : 1 + NUM_FLOW_JOINTS]) - first
    flip = np.array([-1.0, 1.0, 1.0])
    signs = (flip[:, None] * flip[None, :]).astype(rotations.dtype)
    mirrored: npt.NDArray[np.floating] = rotations[..., order, :, :] * signs
    return mirrored
