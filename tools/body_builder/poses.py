"""Random poses within the range of human joints, to fit and evaluate the pose correctives."""

import numpy as np
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import JOINT_NAMES, MIRROR_JOINTS, NUM_JOINTS, PARENTS
from kinestream.tools.body_builder.arrays import FloatArray
from kinestream.tools.body_builder.skeleton import JOINT_ID

_Range = tuple[float, float]
RANGE_DEG: dict[str, tuple[_Range, _Range, _Range]] = {
    "spine1": ((-15, 45), (-25, 25), (-20, 20)),
    "spine2": ((-12, 35), (-20, 20), (-15, 15)),
    "spine3": ((-12, 25), (-15, 15), (-15, 15)),
    "neck": ((-25, 40), (-45, 45), (-25, 25)),
    "head": ((-25, 30), (-35, 35), (-20, 20)),
    "hip": ((-120, 35), (-35, 35), (-20, 50)),
    "knee": ((0, 140), (-10, 10), (-5, 5)),
    "ankle": ((-30, 40), (-20, 20), (-20, 20)),
    "foot": ((-35, 15), (-5, 5), (-5, 5)),
    "collar": ((-8, 8), (-20, 20), (-10, 35)),
    "shoulder": ((-60, 60), (-115, 45), (-85, 90)),
    "elbow": ((-60, 60), (-145, 0), (-15, 15)),
    "wrist": ((-45, 45), (-30, 30), (-65, 65)),
    "hand": ((-10, 10), (-10, 10), (-70, 20)),
}
"""Turns about x, then y, then z from the T-pose; for the right side y and z are mirrored."""

_MOVING_SHARE = 0.75
_REACH, _REACH_SHARE = (0.4, 1.0), (0.4, 0.6)
"""A joint that moves uses this part of its range, so that small turns are common and limits are reached."""


def random_rotations(generator: np.random.Generator) -> FloatArray:
    """Local joint rotations (24, 3, 3) of one pose; the root does not turn."""
    rotations = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for joint, name in enumerate(JOINT_NAMES):
        limits = RANGE_DEG.get(name.removeprefix("left_").removeprefix("right_"))
        if limits is None or generator.random() > _MOVING_SHARE:
            continue
        low, high = np.array(limits).T
        angles = generator.uniform(low, high) * generator.choice(_REACH, p=_REACH_SHARE)
        if name.startswith("right_"):
            angles = angles * [1, -1, -1]
        rotations[joint] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return rotations


def mirrored_rotations(rotations: FloatArray) -> FloatArray:
    """The pose (..., 24, 3, 3) seen in a mirror across x = 0."""
    flip = np.diag([-1.0, 1.0, 1.0])
    return flip @ rotations[..., list(MIRROR_JOINTS), :, :] @ flip


def bone_motion(rotations: FloatArray, joints_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Global rigid maps (24, 3, 3), (24, 3) of bones for local `rotations`; `joints_m` (24, 3) at rest."""
    world, position = rotations.copy(), joints_m.copy()
    for child in range(1, NUM_JOINTS):
        parent = PARENTS[child]
        world[child] = world[parent] @ rotations[child]
        position[child] = position[parent] + world[parent] @ (joints_m[child] - joints_m[parent])
    return world, position - np.einsum("kij,kj->ki", world, joints_m)


def named_rotations(**angles_deg: tuple[float, float, float]) -> FloatArray:
    """Local rotations (24, 3, 3) from turns about x, y, z per joint; a name without a side moves both sides.

    ``named_rotations(shoulder=(0, 0, 80))`` raises both arms.

    Raises ``ValueError``: there is no such joint.
    """
    rotations = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for name, angles in angles_deg.items():
        sides = {name: 1} if name in JOINT_ID else {f"left_{name}": 1, f"right_{name}": -1}
        for joint, sign in sides.items():
            if joint not in JOINT_ID:
                raise ValueError(f"there is no joint {name!r}; joints: {JOINT_NAMES}")
            turns = np.array(angles) * (1, sign, sign)
            rotations[JOINT_ID[joint]] = Rotation.from_euler("xyz", turns, degrees=True).as_matrix()
    return rotations
