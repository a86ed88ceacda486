"""Place and orientation of each body in a world with z up (.gmr.npz), for General Motion Retargeting."""

from pathlib import Path

import numpy as np

from kinestream.body.orientations import joint_orientations
from kinestream.body.skeleton import JOINT_NAMES, NUM_FLOW_JOINTS
from kinestream.tools.export.motion import Z_UP, Motion, continuous_quats


def write_gmr(path: Path, motion: Motion) -> None:
    """Write one take. Metres, wxyz; x right, y forward, z up; SMPL's axes at rest. Raises ``OSError``.

    ``position_m`` (T, 24, 3) and ``quat_wxyz`` (T, 24, 4) of the bodies in ``body_names`` (24,), at ``fps``.
    """
    rotations = motion.rotations[:, : 1 + NUM_FLOW_JOINTS].copy()
    rotations[:, 0] = Z_UP @ rotations[:, 0]
    quats = continuous_quats(rotations)
    with open(path, "wb") as file:  # np.savez would add a suffix of its own
        np.savez(
            file,
            fps=np.array(motion.fps),
            body_names=np.array(JOINT_NAMES),
            position_m=motion.joints_m @ Z_UP.T,
            quat_wxyz=joint_orientations(quats[:, 0], quats[:, 1:]),
        )
