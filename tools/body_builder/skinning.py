"""Skinning weights on the 24 joints, and linear blend skinning forwards and backwards."""

from collections.abc import Sequence

import numpy as np

from kinestream.body.skeleton import NUM_JOINTS
from kinestream.tools.body_builder.arrays import FloatArray, IntArray, smooth_step, unit
from kinestream.tools.body_builder.mesh import neighbour_average
from kinestream.tools.body_builder.skeleton import JOINT_ID, joint_of_bone

ARM_REACH_M = (0.07, 0.13)
"""Distances from the arm axis between which the shoulder hands the trunk over to the upper spine."""

NEGLIGIBLE_WEIGHT = 4e-3


def merge_bones(bone_weights: FloatArray, bone_names: Sequence[str]) -> FloatArray:
    """Weights of the source bones (V, B) summed per joint: (V, 24), rows sum to one."""
    weights = np.zeros((len(bone_weights), NUM_JOINTS))
    for column, bone in enumerate(bone_names):
        weights[:, joint_of_bone(bone)] += bone_weights[:, column]
    weights /= weights.sum(1, keepdims=True)
    return weights


def release_trunk(weights: FloatArray, points_m: FloatArray, joints_m: FloatArray) -> FloatArray:
    """Move shoulder weight far from the arm axis to the upper spine, which keeps raised arms off the flanks.

    `points_m` (V, 3) and `joints_m` (24, 3) are the mean body in the source pose.
    """
    weights = weights.copy()
    for side in ("left", "right"):
        shoulder, elbow = JOINT_ID[f"{side}_shoulder"], JOINT_ID[f"{side}_elbow"]
        axis = unit(joints_m[elbow] - joints_m[shoulder])
        offset = points_m - joints_m[shoulder]
        distance = np.linalg.norm(offset - (offset @ axis)[:, None] * axis, axis=1)
        moved = weights[:, shoulder] * smooth_step(distance, *ARM_REACH_M)
        weights[:, shoulder] -= moved
        weights[:, JOINT_ID["spine3"]] += moved
    return weights


def diffuse(weights: FloatArray, faces: IntArray, rounds: int) -> FloatArray:
    """Weights (V, 24) averaged with their one-ring `rounds` times; negligible influences are dropped."""
    average = neighbour_average(faces, len(weights))
    for _ in range(rounds):
        weights = 0.5 * weights + 0.5 * (average @ weights)
    weights[weights < NEGLIGIBLE_WEIGHT] = 0
    return weights / weights.sum(1, keepdims=True)


def keep_largest(weights: FloatArray, count: int) -> FloatArray:
    """The `count` largest influences of every row, scaled to sum to one."""
    weights = weights.copy()
    np.put_along_axis(weights, np.argsort(-weights, 1)[:, count:], 0, 1)
    return weights / weights.sum(1, keepdims=True)


def skin(points_m: FloatArray, weights: FloatArray, rotations: FloatArray, shift_m: FloatArray) -> FloatArray:
    """Linear blend skinning of points (V, 3) with weights (V, 24) and rigid maps (24, 3, 3), (24, 3)."""
    blend = np.einsum("vk,kij->vij", weights, rotations)
    return np.einsum("vij,vj->vi", blend, points_m) + weights @ shift_m


def unpose(
    vertices_m: FloatArray,
    weights: FloatArray,
    rotations: FloatArray,
    joints_source_m: FloatArray,
    joints_rest_m: FloatArray,
) -> FloatArray:
    """Rest vertices (N, V, 3), float32, which skinning carries to the given source pose.

    `rotations` (N, 24, 3, 3) lead from the source pose to the rest pose; skinning from rest to source uses
    their transposes. `joints_*_m` are (N, 24, 3).
    """
    out = np.empty(vertices_m.shape, np.float32)
    for n in range(len(vertices_m)):
        back = rotations[n].transpose(0, 2, 1)
        shift = joints_source_m[n] - np.einsum("kij,kj->ki", back, joints_rest_m[n])
        blend = np.einsum("vk,kij->vij", weights, back)
        out[n] = np.linalg.solve(blend, (vertices_m[n] - weights @ shift)[..., None])[..., 0]
    return out
