"""Rotations of a few people per frame: the formulas of `kinestream.geometry.rotation`, compiled.

Each function equals its namesake there within rounding (tested). Arrays are numpy; nothing is differentiable.
"""

import numpy as np

from kinestream.kernels.array_types import Float32Array, Float64Array
from kinestream.kernels.caching import compiled

_SHORT = 1e-18
_PARALLEL = 4 * np.finfo(np.float64).eps ** 2


@compiled()
def quat_from_matrix(rotations: Float64Array) -> Float32Array:
    """Unit quaternions (N, 4) wxyz, w >= 0, of rotations (N, 3, 3).

    By the largest component first (Shepperd 1978), so that no rotation divides by little.
    """
    quats = np.empty((rotations.shape[0], 4), np.float32)
    squares = np.empty(4)
    q = np.empty(4)
    for n in range(rotations.shape[0]):
        r = rotations[n]
        squares[0] = 1 + r[0, 0] + r[1, 1] + r[2, 2]
        squares[1] = 1 + r[0, 0] - r[1, 1] - r[2, 2]
        squares[2] = 1 - r[0, 0] + r[1, 1] - r[2, 2]
        squares[3] = 1 - r[0, 0] - r[1, 1] + r[2, 2]
        largest = np.argmax(squares)
        if largest == 0:
            q[:] = squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
        elif largest == 1:
            q[:] = r[2, 1] - r[1, 2], squares[1], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]
        elif largest == 2:
            q[:] = r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], squares[2], r[1, 2] + r[2, 1]
        else:
            q[:] = r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[3]
        scale = 1 / np.sqrt((q * q).sum())
        if q[0] < 0:
            scale = -scale
        for k in range(4):
            quats[n, k] = q[k] * scale
    return quats


@compiled()
def matrix_from_sixd(sixd: Float64Array) -> Float64Array:
    """Rotations (N, 3, 3) of 6D coordinates (N, 6); a fixed one where they determine none."""
    rotations = np.empty((sixd.shape[0], 3, 3))
    x, y, z = np.empty(3), np.empty(3), np.empty(3)
    for n in range(sixd.shape[0]):
        _normalise(sixd[n, :3], 0, x)
        _normalise(sixd[n, 3:], 1, y)
        _cross(x, y, z)
        if z[0] * z[0] + z[1] * z[1] + z[2] * z[2] < _PARALLEL:
            y[:] = 0.0
            y[np.argmin(np.abs(x))] = 1.0
            _cross(x, y, z)
        _normalise(z.copy(), 2, z)
        _cross(z, x, y)
        for row in range(3):
            rotations[n, row, 0], rotations[n, row, 1], rotations[n, row, 2] = x[row], y[row], z[row]
    return rotations


@compiled()
def _normalise(vector: Float64Array, fallback_axis: int, out: Float64Array) -> None:
    """Fill ``out`` (3,) with the direction of a vector, or with an axis where it has none."""
    scale = max(abs(vector[0]), abs(vector[1]), abs(vector[2]))
    if scale < _SHORT:
        out[:] = 0.0
        out[fallback_axis] = 1.0
        return
    a, b, c = vector[0] / scale, vector[1] / scale, vector[2] / scale
    length = np.sqrt(a * a + b * b + c * c)
    out[0], out[1], out[2] = a / length, b / length, c / length


@compiled()
def _cross(left: Float64Array, right: Float64Array, out: Float64Array) -> None:
    """Fill ``out`` (3,) with the cross product."""
    out[0] = left[1] * right[2] - left[2] * right[1]
    out[1] = left[2] * right[0] - left[0] * right[2]
    out[2] = left[0] * right[1] - left[1] * right[0]
