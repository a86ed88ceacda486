"""Unit quaternions (wxyz) without torch: single ones as tuples of floats, many as numpy arrays (..., 4).

`product` is the one Hamilton product of the tree: its components may be floats, arrays or tensors.
Differentiable forms are in `kinestream.geometry.rotation`, compiled ones in
`kinestream.geometry.compiled_rotation`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from kinestream.kernels.array_types import AnyArray, Float64Array

Quat = tuple[float, float, float, float]


def product(left: Iterable[Any], right: Iterable[Any]) -> tuple[Any, Any, Any, Any]:
    """Hamilton product by components: first the right rotation, then the left one."""
    w, x, y, z = left
    a, b, c, d = right
    return (
        w * a - x * b - y * c - z * d,
        w * b + x * a + y * d - z * c,
        w * c - x * d + y * a + z * b,
        w * d + x * c - y * b + z * a,
    )


# ------------------------------------------------------------------------------------------ single ones


def conjugate(quat: Quat) -> Quat:
    """The opposite rotation."""
    w, x, y, z = quat
    return (w, -x, -y, -z)


def exp(x: float, y: float, z: float) -> Quat:
    """Quaternion of a rotation vector (radians)."""
    angle = math.sqrt(x * x + y * y + z * z)
    scale = 0.5 - angle * angle / 48 if angle < 1e-4 else math.sin(angle / 2) / angle
    return (math.cos(angle / 2), scale * x, scale * y, scale * z)


def log(quat: Quat) -> tuple[float, float, float]:
    """Rotation vector (radians), at most half a turn long; q and -q agree."""
    w, x, y, z = quat
    sine = math.sqrt(x * x + y * y + z * z)
    if sine < 1e-9:
        scale = 2.0 if w >= 0 else -2.0
    else:
        scale = math.copysign(2.0 * math.atan2(sine, abs(w)) / sine, w)
    return (scale * x, scale * y, scale * z)


def unit(quat: Quat) -> Quat:
    """The quaternion at length one."""
    length = math.sqrt(sum(part * part for part in quat))
    return (quat[0] / length, quat[1] / length, quat[2] / length, quat[3] / length)


def to_matrix(quat: Quat) -> list[list[float]]:
    """Rows of the rotation matrix (3, 3)."""
    w, x, y, z = quat
    return [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]


# ------------------------------------------------------------------------------------------ many at once


def multiply(left: AnyArray, right: AnyArray) -> AnyArray:
    """Hamilton products of (..., 4) and (..., 4), which broadcast."""
    return np.stack(product(np.moveaxis(left, -1, 0), np.moveaxis(right, -1, 0)), -1)


def conjugates(quats_wxyz: AnyArray) -> AnyArray:
    """The opposite rotations (..., 4)."""
    opposite: AnyArray = quats_wxyz * np.array([1, -1, -1, -1], quats_wxyz.dtype)
    return opposite


def rotate(quats_wxyz: AnyArray, vectors: AnyArray) -> AnyArray:
    """Vectors (..., 3) turned by quaternions (..., 4)."""
    w, axis = quats_wxyz[..., :1], quats_wxyz[..., 1:]
    twice = 2 * np.cross(axis, vectors)
    turned: AnyArray = vectors + w * twice + np.cross(axis, twice)
    return turned


def rotation_vectors(quats_wxyz: AnyArray) -> Float64Array:
    """Rotation vectors (..., 3) in radians of quaternions (..., 4), angle at most pi."""
    quats = np.asarray(quats_wxyz, np.float64)
    quats = np.where(quats[..., :1] < 0, -quats, quats)
    sine = np.linalg.norm(quats[..., 1:], axis=-1, keepdims=True)
    tiny = sine < 1e-12
    scale = np.where(tiny, 2.0, 2 * np.arctan2(sine, quats[..., :1]) / np.where(tiny, 1.0, sine))
    vectors: Float64Array = scale * quats[..., 1:]
    return vectors


def from_matrix(matrix: AnyArray) -> Float64Array:
    """Quaternion (4,), w >= 0, of a rotation matrix (3, 3), by its largest component (Shepperd 1978)."""
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = np.asarray(matrix, np.float64)
    rows = np.array(
        [
            [1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01],
            [m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20],
            [m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12],
            [m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22],
        ]
    )
    row = rows[rows.diagonal().argmax()]
    quat: Float64Array = row / np.sqrt(np.square(row).sum())
    return -quat if quat[0] < 0 else quat
