"""The 24 SMPL joints inside the source rig, and the rotations that bring a body to the T-pose.

Axes: x to the left of the person, y up, z forward. The source bodies stand in an A-pose.
"""

from collections.abc import Sequence

import numpy as np

from kinestream.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from kinestream.tools.body_builder.arrays import FloatArray, unit

JOINT_ID = {name: index for index, name in enumerate(JOINT_NAMES)}
SIDES = (("left", "L", 1.0), ("right", "R", -1.0))
"""Word of the joint names, letter of the source bones, sign of x."""

_Recipe = Sequence[tuple[str, float]]
_CENTRE_RECIPES: dict[str, _Recipe] = {
    "pelvis": [("root", 0.45), ("spine04", 0.55)],
    "spine1": [("spine03", 1)],
    "spine2": [("spine02", 1)],
    "spine3": [("spine01", 1)],
    "neck": [("neck01", 0.6), ("neck02", 0.4)],
    "head": [("head", 1)],
}
_SIDE_RECIPES: dict[str, _Recipe] = {
    "hip": [("upperleg01.{side}", 1)],
    "knee": [("lowerleg01.{side}", 1)],
    "ankle": [("foot.{side}", 1)],
    "foot": [(f"toe{toe}-1.{{side}}", 1) for toe in (1, 2, 3, 4)],
    "collar": [("clavicle.{side}", 0.5), ("shoulder01.{side}", 0.5)],
    "shoulder": [("upperarm01.{side}", 1)],
    "elbow": [("lowerarm01.{side}", 1)],
    "wrist": [("wrist.{side}", 1)],
    "hand": [(f"finger{finger}-1.{{side}}", 1) for finger in (2, 3, 4)],
}
"""Joint centres as weighted means of bone heads."""

HIP_INSET = 0.82
"""The true hip centres lie nearer to the midline than the bone heads of the source rig, by this factor."""

FEMUR_ANGLE_DEG, TIBIA_ANGLE_DEG = 4.0, -1.0
"""Outward lean of thigh and shin in the T-pose."""

_BONE_PREFIXES: Sequence[tuple[str, tuple[str, ...]]] = (
    ("pelvis", ("root", "pelvis", "spine05", "spine04")),
    ("spine1", ("spine03",)),
    ("spine2", ("spine02",)),
    ("spine3", ("spine01", "breast")),
    ("neck", ("neck01", "neck02")),
    ("head", ("neck03", "head", "eye")),
    ("hip", ("upperleg",)),
    ("knee", ("lowerleg",)),
    ("ankle", ("foot",)),
    ("foot", ("toe",)),
    ("collar", ("clavicle", "shoulder01")),
    ("shoulder", ("upperarm",)),
    ("elbow", ("lowerarm",)),
    ("wrist", ("wrist", "metacarpal")),
    ("hand", ("finger",)),
)
"""Bones whose skinning weight goes to each joint, as name prefixes without the side."""


def frames(first: FloatArray, second: FloatArray) -> FloatArray:
    """Rotations (..., 3, 3) whose columns are x along `first`, y towards `second`, and z = x × y."""
    x = unit(first)
    z = unit(np.cross(x, second))
    return np.stack([x, np.cross(z, x), z], -1)


def rotation_about_z(angle_rad: FloatArray) -> FloatArray:
    """Rotations (N, 3, 3) about the forward axis."""
    c, s, zero = np.cos(angle_rad), np.sin(angle_rad), np.zeros_like(angle_rad)
    rows = [[c, -s, zero], [s, c, zero], [zero, zero, zero + 1]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def joint_centres(bone_heads: FloatArray, bone_names: Sequence[str]) -> FloatArray:
    """Joint centres (N, 24, 3) of bodies given by their bone heads (N, B, 3), same pose and units.

    Raises ``ValueError``: a bone that a joint is made of is missing.
    """
    column = {name: index for index, name in enumerate(bone_names)}

    def centre(recipe: _Recipe, side: str) -> FloatArray:
        total = sum(share for _, share in recipe)
        names = [bone.format(side=side) for bone, _ in recipe]
        missing = [name for name in names if name not in column]
        if missing:
            raise ValueError(f"joint centres need the bones {names}, but the rig lacks {missing}")
        shares = [share / total for _, share in recipe]
        terms = [share * bone_heads[:, column[name]] for name, share in zip(names, shares, strict=True)]
        return np.asarray(sum(terms))

    out = np.zeros((len(bone_heads), NUM_JOINTS, 3))
    for name, recipe in _CENTRE_RECIPES.items():
        out[:, JOINT_ID[name]] = centre(recipe, "")
    for name, recipe in _SIDE_RECIPES.items():
        for word, letter, _ in SIDES:
            out[:, JOINT_ID[f"{word}_{name}"]] = centre(recipe, letter)
    out[:, JOINT_ID["pelvis"], 0] = 0
    out[:, [JOINT_ID["left_hip"], JOINT_ID["right_hip"]], 0] *= HIP_INSET
    return out


def joint_of_bone(bone: str) -> int:
    """The joint that takes over the skinning weight of a source bone.

    Raises ``ValueError``: the bone belongs to no joint.
    """
    stem, _, letter = bone.partition(".")
    word = {"L": "left_", "R": "right_"}.get(letter, "")
    for joint, prefixes in _BONE_PREFIXES:
        if stem.startswith(prefixes):
            return JOINT_ID[joint] if joint in JOINT_ID else JOINT_ID[word + joint]
    raise ValueError(f"bone {bone!r} belongs to none of the 24 joints; known prefixes: {_BONE_PREFIXES}")


def knuckle_directions(bone_heads: FloatArray, bone_names: Sequence[str]) -> dict[str, FloatArray]:
    """For each hand the direction (N, 3) from the little finger's knuckle to the index finger's."""
    column = {name: index for index, name in enumerate(bone_names)}
    return {
        word: bone_heads[:, column[f"finger2-1.{letter}"]] - bone_heads[:, column[f"finger5-1.{letter}"]]
        for word, letter, _ in SIDES
    }


def rotations_to_t_pose(joints_m: FloatArray, knuckles: dict[str, FloatArray]) -> FloatArray:
    """Global rotations (N, 24, 3, 3) that bring bodies with these A-pose joints (N, 24, 3) to the T-pose.

    Arms go to ±x with a vertical elbow hinge and the palm down, legs to fixed frontal angles; all else keeps
    its orientation.
    """
    count = len(joints_m)
    rotations = np.tile(np.eye(3), (count, NUM_JOINTS, 1, 1))
    for word, _, sign in SIDES:
        ids = {name: JOINT_ID[f"{word}_{name}"] for name in _SIDE_RECIPES}
        at = {name: joints_m[:, index] for name, index in ids.items()}
        upper_arm, forearm = at["elbow"] - at["shoulder"], at["wrist"] - at["elbow"]
        hinge = unit(np.cross(upper_arm, forearm))
        outward = np.tile([sign, 0.0, 0.0], (count, 1))
        arm_goal = frames(outward, np.tile([0.0, -sign, 0.0], (count, 1)))
        hand_goal = frames(outward, np.tile([0.0, 0.0, 1.0], (count, 1)))
        rotations[:, ids["shoulder"]] = arm_goal @ frames(upper_arm, hinge).transpose(0, 2, 1)
        rotations[:, ids["elbow"]] = arm_goal @ frames(forearm, hinge).transpose(0, 2, 1)
        hand = hand_goal @ frames(at["hand"] - at["wrist"], knuckles[word]).transpose(0, 2, 1)
        rotations[:, ids["wrist"]] = rotations[:, ids["hand"]] = hand
        for name, end, angle_deg in (("hip", "knee", FEMUR_ANGLE_DEG), ("knee", "ankle", TIBIA_ANGLE_DEG)):
            bone = at[end] - at[name]
            lean = np.arctan2(bone[:, 0], -bone[:, 1])
            rotations[:, ids[name]] = rotation_about_z(sign * np.radians(angle_deg) - lean)
    return rotations


def chain_positions(rotations: FloatArray, joints_m: FloatArray) -> FloatArray:
    """Joint positions (N, 24, 3) after global `rotations` (N, 24, 3, 3), with the pelvis at the origin."""
    out = np.zeros_like(joints_m)
    for child in range(1, NUM_JOINTS):
        parent = PARENTS[child]
        offset = joints_m[:, child] - joints_m[:, parent]
        out[:, child] = out[:, parent] + np.einsum("nij,nj->ni", rotations[:, parent], offset)
    return out
