"""Pose correctives: what linear blend skinning must add to look like the elastic body.

As in SMPL (Loper et al., 2015) the correctives are linear in the entries of R - I of joints 1..23. They are
fitted, vertex by vertex, to the difference between the elastic body and plain skinning over random poses.
"""

from dataclasses import dataclass

import numpy as np

from kinestream.body.skeleton import NUM_JOINTS, PARENTS
from kinestream.tools.body_builder.arrays import BoolArray, FloatArray, IntArray, Progress, silent
from kinestream.tools.body_builder.elastic import ElasticBody
from kinestream.tools.body_builder.mesh import neighbour_average
from kinestream.tools.body_builder.poses import bone_motion, mirrored_rotations, random_rotations
from kinestream.tools.body_builder.skinning import skin

POSE_FEATURES = 9 * (NUM_JOINTS - 1)
MOVING_M = 0.004
"""Offsets above this enter the reported residual."""
GRID_M = 1e-4
"""Correctives are rounded to this grid: it is far below what is seen, and the file shrinks."""


@dataclass(frozen=True)
class Correctives:
    """Fitted correctives and how well they explain poses they were not fitted to."""

    directions_m: FloatArray  # (V, 3, 207) metres per entry of R - I
    target_rms_mm: float  # root mean square of the wanted offsets over moving vertices of held-out poses
    residual_rms_mm: float  # the same for what the correctives leave over


def pose_features(rotations: FloatArray) -> FloatArray:
    """(..., 24, 3, 3) local rotations -> (..., 207) entries of R - I of joints 1..23, row-major."""
    difference = rotations[..., 1:, :, :] - np.eye(3)
    return difference.reshape(*rotations.shape[:-3], POSE_FEATURES)


def fit_correctives(
    points_m: FloatArray,
    faces: IntArray,
    weights: FloatArray,
    joints_m: FloatArray,
    partner: IntArray,
    *,
    poses: int = 150,
    held_out: int = 30,
    ridge: float = 1.0,
    smoothing: int = 1,
    threshold_m: float = 5e-4,
    seed: int = 0,
    progress: Progress = silent,
) -> Correctives:
    """Fit correctives of the mean body (V, 3) to random poses of its elastic twin, and their mirror images.

    `partner` (V,) maps vertices across x = 0. `held_out` of the poses only measure the residual.

    Raises ``ValueError``: no pose is left to fit to.
    """
    if poses <= held_out:
        raise ValueError(f"{held_out} poses are held out, so more than {held_out} are needed, found {poses}")
    rotations, offsets = _elastic_offsets(points_m, faces, weights, joints_m, poses, seed, progress)
    train, test = slice(held_out, None), slice(held_out)
    features = pose_features(np.concatenate([rotations[train], mirrored_rotations(rotations[train])]))
    goals = np.concatenate([offsets[train], mirrored_offsets(offsets[train], partner)])
    directions = _ridge_regression(features, goals, influential_joints(weights, faces), ridge)
    average = neighbour_average(faces, len(points_m))
    flat = directions.reshape(len(points_m), -1)
    for _ in range(smoothing):
        flat = 0.5 * flat + 0.5 * (average @ flat)
    flat[np.abs(flat) < threshold_m] = 0
    directions = np.round(flat / GRID_M).reshape(directions.shape) * GRID_M

    guess = np.einsum("vdk,nk->nvd", directions, pose_features(rotations[test]))
    moving = np.linalg.norm(offsets[test], axis=-1) > MOVING_M

    def rms_mm(difference: FloatArray) -> float:
        return float(1000 * np.sqrt((difference**2).sum(-1)[moving].mean()))

    return Correctives(directions, rms_mm(offsets[test]), rms_mm(offsets[test] - guess))


def mirrored_offsets(offsets_m: FloatArray, partner: IntArray) -> FloatArray:
    """Offsets (N, V, 3) as they are in the mirrored pose."""
    return offsets_m[:, partner] * np.array([-1, 1, 1], offsets_m.dtype)


def influential_joints(
    weights: FloatArray, faces: IntArray, *, least: float = 0.01, reach: int = 6
) -> BoolArray:
    """(V, 23) whether joint 1..23 may correct a vertex.

    A joint counts where its motion separates the influences of the vertex, and up to `reach` edges around.
    """
    below = np.eye(NUM_JOINTS, dtype=bool)
    for child in range(NUM_JOINTS - 1, 0, -1):
        below[PARENTS[child]] |= below[child]
    carried = weights @ below.T  # weight on the subtree of each joint
    active: BoolArray = np.minimum(carried, 1 - carried)[:, 1:] > least
    average = neighbour_average(faces, len(weights))
    for _ in range(reach):
        active = active | ((average @ active.astype(np.float32)) > 0)
    return active


def _elastic_offsets(
    points_m: FloatArray,
    faces: IntArray,
    weights: FloatArray,
    joints_m: FloatArray,
    poses: int,
    seed: int,
    progress: Progress,
) -> tuple[FloatArray, FloatArray]:
    """Random local rotations (N, 24, 3, 3) and rest-pose offsets (N, V, 3) that lead to the elastic body."""
    generator = np.random.default_rng(seed)
    body = ElasticBody(points_m, faces, weights, joints_m)
    rotations = np.stack([random_rotations(generator) for _ in range(poses)])
    offsets = np.empty((poses, len(points_m), 3), np.float32)
    for n, local in enumerate(rotations):
        world, shift = bone_motion(local, joints_m)
        wanted = body.relax(world, shift) - skin(points_m, weights, world, shift)
        blend = np.einsum("vk,kij->vij", weights, world)
        damped = np.einsum("vji,vjk->vik", blend, blend) + 1e-2 * np.eye(3)
        pull = np.einsum("vji,vj->vi", blend, wanted)
        offsets[n] = np.linalg.solve(damped, pull[..., None])[..., 0]
        progress("bending the elastic body", n + 1, poses)
    return rotations, offsets


def _ridge_regression(features: FloatArray, goals: FloatArray, active: BoolArray, ridge: float) -> FloatArray:
    """Directions (V, 3, 207) with goals (N, V, 3) ≈ directions @ features (N, 207), by active joints only."""
    out = np.zeros((goals.shape[1], 3, POSE_FEATURES))
    patterns, owner = np.unique(active, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        columns = np.flatnonzero(np.repeat(pattern, 9))
        rows = np.flatnonzero(owner.ravel() == number)
        if len(columns) == 0:
            continue
        x = features[:, columns]
        y = goals[:, rows].reshape(len(x), -1).astype(np.float64)
        solution = np.linalg.solve(x.T @ x + ridge * np.eye(len(columns)), x.T @ y)
        block = solution.reshape(len(columns), len(rows), 3).transpose(1, 2, 0)
        out[np.ix_(rows, np.arange(3), columns)] = block
    return out
