"""The layout of AMASS archives (.npz): axis-angle poses of SMPL-H in a world with z up."""

from pathlib import Path

import numpy as np

from kinestream.body.skeleton import NUM_FLOW_JOINTS
from kinestream.geometry.rotation import axis_angle_from_matrix
from kinestream.tools.export.motion import Z_UP, Floats, Motion

NUM_HAND_JOINTS = 30
NUM_SHAPE = 16
NUM_DMPL = 8


def write_amass(path: Path, motion: Motion, rest_joints_m: Floats) -> None:
    """Write one take. Metres; x right, y forward, z up. Raises ``OSError``.

    Beside the keys of the first AMASS archives stand those of its later ones, which GMR and the SMPL-X add-on
    of Blender read.

    ``trans`` is the pelvis minus the pelvis of ``rest_joints_m`` (24, 3), as the layout has it: the body at
    rest, turned about its pelvis, is moved by it. Hands rest, ``dmpls`` are 0.
    """
    count = len(motion.t_s)
    rotations = motion.rotations[:, : 1 + NUM_FLOW_JOINTS].copy()
    rotations[:, 0] = Z_UP @ rotations[:, 0]
    vectors = axis_angle_from_matrix(rotations).reshape(count, -1)
    with open(path, "wb") as file:  # np.savez would add a suffix of its own
        np.savez(
            file,
            poses=np.concatenate([vectors, np.zeros((count, 3 * NUM_HAND_JOINTS))], axis=1),
            trans=motion.pelvis_m @ Z_UP.T - rest_joints_m[0],
            betas=np.concatenate([motion.betas, np.zeros(NUM_SHAPE - len(motion.betas))]),
            dmpls=np.zeros((count, NUM_DMPL)),
            gender=np.array("neutral"),
            mocap_framerate=np.array(motion.fps),
            mocap_frame_rate=np.array(motion.fps),
            mocap_time_length=np.array(count / motion.fps),
            root_orient=vectors[:, :3],
            pose_body=vectors[:, 3:],
            pose_hand=np.zeros((count, 3 * NUM_HAND_JOINTS)),
            surface_model_type=np.array("smplh"),
            num_betas=np.array(NUM_SHAPE),
        )
