"""Sparse linear regressors from vertices to joints and keypoints."""

import numpy as np
from scipy.optimize import nnls

from kinestream.body.skeleton import MIRROR_JOINTS
from kinestream.tools.body_builder.arrays import FloatArray, IntArray

CANDIDATES = 260
SAMPLES = 150
UNIT_SUM_PULL = 10.0
"""Weight of the equation "the row sums to one" against coordinates in metres."""
NEGLIGIBLE = 2e-3


def farthest_points(points: FloatArray, count: int) -> IntArray:
    """Indices of up to `count` well-spread points (N, 3), greedily, starting with the first."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def fit_regressor(vertices_m: FloatArray, targets_m: FloatArray, *, seed: int = 0) -> FloatArray:
    """Rows (K, V), non-negative and summing to one, with targets (N, K, 3) ≈ rows @ vertices (N, V, 3).

    Each target is fitted by non-negative least squares to well-spread vertices around it.
    """
    mean, goal = vertices_m.mean(0), targets_m.mean(0)
    picks = np.random.default_rng(seed).permutation(len(vertices_m))[:SAMPLES]
    rows = np.zeros((targets_m.shape[1], vertices_m.shape[1]))
    for k in range(len(rows)):
        distance = np.linalg.norm(mean - goal[k], axis=1)
        nearby = np.sort(distance)[min(20, len(distance) - 1)]
        near = np.flatnonzero(distance < min(nearby * 2.2 + 0.03, 0.3))
        near = near[farthest_points(mean[near], CANDIDATES)]
        coordinates = vertices_m[picks][:, near].transpose(0, 2, 1).reshape(-1, len(near)).astype(np.float64)
        system = np.vstack([coordinates, np.full((1, len(near)), UNIT_SUM_PULL)])
        right_side = np.append(targets_m[picks, k].reshape(-1), UNIT_SUM_PULL)
        solution, _ = nnls(system, right_side, maxiter=50000)
        solution[solution < NEGLIGIBLE] = 0
        rows[k, near] = solution / solution.sum()
    return rows


def symmetric_joint_rows(rows: FloatArray, partner: IntArray) -> FloatArray:
    """Mean of the joint rows (24, V) and their mirror images; `partner` (V,) maps vertices across x = 0."""
    mirrored = np.zeros_like(rows)
    mirrored[:, partner] = rows[list(MIRROR_JOINTS)]
    return (rows + mirrored) / 2


def regression_errors_mm(rows: FloatArray, vertices_m: FloatArray, targets_m: FloatArray) -> FloatArray:
    """Distances (N, K) between regressed and true points, in millimetres."""
    residual = np.einsum("kv,nvd->nkd", rows, vertices_m) - targets_m
    return np.asarray(1000 * np.linalg.norm(residual, axis=-1))
