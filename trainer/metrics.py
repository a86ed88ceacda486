"""Errors of joints after alignment of the root or a similarity (Procrustes); intervals of deviations."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

INTERVAL = 0.9
INTERVAL_STDS = 1.6448536269514722
"""Half the width of a central 90 % interval of the normal distribution, in standard deviations."""


def similarity_aligned(points: npt.ArrayLike, reference: npt.ArrayLike) -> FloatArray:
    """Points (..., N, 3) moved onto reference (..., N, 3) by rotation, scale and shift (Umeyama 1991)."""
    moving, fixed = np.asarray(points, np.float64), np.asarray(reference, np.float64)
    moving_mean, fixed_mean = moving.mean(-2, keepdims=True), fixed.mean(-2, keepdims=True)
    turn, scale = similarity_of(moving - moving_mean, fixed - fixed_mean)
    aligned: FloatArray = scale[..., None, None] * ((moving - moving_mean) @ turn) + fixed_mean
    return aligned


def similarity_of(centred: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rotation (..., 3, 3) and scale (...,) of rows that move centred points (..., N, 3) onto others best."""
    u, singular, vt = np.linalg.svd(np.swapaxes(centred, -1, -2) @ target)
    sign = np.ones_like(singular)
    sign[..., -1] = np.sign(np.linalg.det(u @ vt))
    scale = (singular * sign).sum(-1) / np.maximum(np.square(centred).sum((-1, -2)), 1e-12)
    return (u * sign[..., None, :]) @ vt, scale


def aligned_error(points: npt.ArrayLike, reference: npt.ArrayLike) -> FloatArray:
    """Mean distance (...,) of points (..., N, 3) after the best similarity: PA-MPJPE."""
    gaps = similarity_aligned(points, reference) - np.asarray(reference, np.float64)
    error: FloatArray = np.linalg.norm(gaps, axis=-1).mean(-1)
    return error


def root_error(points: npt.ArrayLike, reference: npt.ArrayLike, *, root: int = 0) -> FloatArray:
    """Mean distance (...,) of points (..., N, 3) relative to their root: MPJPE."""
    a, b = np.asarray(points, np.float64), np.asarray(reference, np.float64)
    difference = (a - a[..., root : root + 1, :]) - (b - b[..., root : root + 1, :])
    error: FloatArray = np.linalg.norm(difference, axis=-1).mean(-1)
    return error
