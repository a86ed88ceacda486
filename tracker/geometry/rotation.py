"""Rotations in three dimensions: matrices, 6D, quaternions (wxyz), axis-angle; metric, mean, slerp.

Every function takes torch tensors or numpy arrays of float32 or float64 with any leading batch
dimensions and returns the same kind. Torch gradients are finite everywhere, also at the identity
and at half turns, and every result is a proper rotation for any finite input. Vectors are columns
and rotations act from the left: ``y = R @ x``; ``Ra @ Rb`` applies ``Rb`` first.

Wrong shapes raise ``ValueError``; other kinds, dtypes or a mixture of kinds raise ``TypeError``.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from kinestream.geometry.polar import polar_rotation
from kinestream.geometry.quaternion import product
from kinestream.kernels.array_types import AnyArray

Array = TypeVar("Array", Tensor, AnyArray)

_SMALL_ANGLE_SQ = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Squared angle under which the series replaces the closed form (both agree to rounding there)."""


def matrix_from_axis_angle(axis_angle: Array) -> Array:
    """Exponential map of SO(3): rotation vectors (..., 3) in radians -> matrices (..., 3, 3)."""
    return _apply("matrix_from_axis_angle", _matrix_from_axis_angle, (axis_angle, (3,)))


def axis_angle_from_matrix(matrix: Array) -> Array:
    """Logarithm of SO(3): matrices (..., 3, 3) -> rotation vectors (..., 3), angle in [0, pi]."""
    return _apply("axis_angle_from_matrix", _axis_angle_from_matrix, (matrix, (3, 3)))


def matrix_from_quat(quat_wxyz: Array) -> Array:
    """Quaternions (..., 4), any length but zero -> matrices (..., 3, 3); zero gives the identity."""
    return _apply("matrix_from_quat", _matrix_from_quat, (quat_wxyz, (4,)))


def quat_from_matrix(matrix: Array) -> Array:
    """Matrices (..., 3, 3) -> unit quaternions (..., 4) in wxyz order with w >= 0 (Shepperd's method)."""
    return _apply("quat_from_matrix", _quat_from_matrix, (matrix, (3, 3)))


def quat_from_axis_angle(axis_angle: Array) -> Array:
    """Rotation vectors (..., 3) in radians -> unit quaternions (..., 4); w < 0 beyond a half turn.

    >>> import numpy as np
    >>> quat_from_axis_angle(np.array([0.0, 0.0, np.pi / 2])).round(3).tolist()  # a quarter turn about z
    [0.707, 0.0, 0.0, 0.707]
    """
    return _apply("quat_from_axis_angle", _quat_from_axis_angle, (axis_angle, (3,)))


def axis_angle_from_quat(quat_wxyz: Array) -> Array:
    """Quaternions (..., 4), any length -> rotation vectors (..., 3), angle in [0, pi]; q and -q agree."""
    return _apply("axis_angle_from_quat", _axis_angle_from_quat, (quat_wxyz, (4,)))


def quat_multiply(left_wxyz: Array, right_wxyz: Array) -> Array:
    """Hamilton products (..., 4) of quaternions (..., 4): first the right rotation, then the left one."""
    return _apply("quat_multiply", _quat_multiply, (left_wxyz, (4,)), (right_wxyz, (4,)))


def matrix_from_sixd(sixd: Array) -> Array:
    """6D coordinates (..., 6) -> matrices (..., 3, 3) by Gram-Schmidt.

    The six numbers are the first column of the matrix, then the second (Zhou et al., CVPR 2019).
    Where they are zero or parallel and so determine no rotation, a fixed nearby one is returned.
    """
    return _apply("matrix_from_sixd", _matrix_from_sixd, (sixd, (6,)))


def sixd_from_matrix(matrix: Array) -> Array:
    """Matrices (..., 3, 3) -> 6D coordinates (..., 6): the first column, then the second."""
    return _apply("sixd_from_matrix", _sixd_from_matrix, (matrix, (3, 3)))


def geodesic_distance(matrix_a: Array, matrix_b: Array) -> Array:
    """Angle in radians, (...), of the rotation between matrices (..., 3, 3), which broadcast.

    Accurate also near 0 and pi, where the arc cosine of the trace is not; the (sub)gradient at
    equal rotations is zero.
    """
    return _apply("geodesic_distance", _geodesic_distance, (matrix_a, (3, 3)), (matrix_b, (3, 3)))


def slerp(matrix_a: Array, matrix_b: Array, fraction: Array) -> Array:
    """Shortest-arc interpolation (..., 3, 3): a at fraction 0, b at 1; fractions (...) broadcast.

    Fractions outside [0, 1] extrapolate at the same angular velocity.
    """
    return _apply("slerp", _slerp, (matrix_a, (3, 3)), (matrix_b, (3, 3)), (fraction, ()))


def geodesic_mean(matrices: Array, weights: Array | None = None, *, iterations: int = 12) -> Array:
    """Karcher mean (..., 3, 3) over the third-last axis of matrices (..., N, 3, 3).

    ``weights`` (..., N) are non-negative and need not sum to one. Started at the projected chordal
    mean; unique when all rotations lie within a quarter turn of it. Gradients flow through the
    unrolled iterations.
    """
    if weights is None:
        return _apply("geodesic_mean", lambda m: _geodesic_mean(m, None, iterations), (matrices, (3, 3)))
    return _apply(
        "geodesic_mean", lambda m, w: _geodesic_mean(m, w, iterations), (matrices, (3, 3)), (weights, ())
    )


def project_to_so3(matrix: Array) -> Array:
    """Nearest rotation (..., 3, 3) to any matrix (..., 3, 3) in the Frobenius norm."""
    return _apply("project_to_so3", polar_rotation, (matrix, (3, 3)))


def random_rotations(
    shape: tuple[int, ...],
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Uniformly distributed (Haar) rotation matrices ``shape`` + (3, 3) on the CPU."""
    return _matrix_from_quat(torch.randn(*shape, 4, generator=generator, dtype=dtype))


# ------------------------------------------------------------------ torch and numpy behind one door


def _apply(name: str, function: Callable[..., Tensor], *inputs: tuple[Array, tuple[int, ...]]) -> Array:
    """Check the inputs (array, trailing shape), run ``function`` on tensors, return the caller's kind."""
    kinds = {Tensor if isinstance(array, Tensor) else type(array) for array, _ in inputs}
    if not kinds <= {Tensor, np.ndarray, np.float64, np.float32} or (Tensor in kinds and len(kinds) > 1):
        found = ", ".join(type(array).__name__ for array, _ in inputs)
        raise TypeError(f"{name}: expected torch tensors only or numpy arrays only, found {found}")
    trailing: tuple[int, ...]
    for array, trailing in inputs:
        if "float32" not in str(array.dtype) and "float64" not in str(array.dtype):
            raise TypeError(f"{name}: expected dtype float32 or float64, found {array.dtype}; convert first")
        if trailing and tuple(array.shape[-len(trailing) :]) != trailing:
            expected = ", ".join(["...", *map(str, trailing)])
            raise ValueError(f"{name}: expected shape ({expected}), found {tuple(array.shape)}")
    result: Any
    if kinds == {Tensor}:
        result = function(*(array for array, _ in inputs))
        return result  # type: ignore[no-any-return]
    with torch.no_grad():
        result = function(*(torch.from_numpy(np.array(array, order="C")) for array, _ in inputs)).numpy()
    return result  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------- the math, in torch


def _square(entries: list[Tensor]) -> Tensor:
    """Nine tensors (...) in row-major order -> matrices (..., 3, 3)."""
    return torch.stack(entries, -1).reshape(*entries[0].shape, 3, 3)


def _skew(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return _square([zero, -z, y, z, zero, -x, -y, x, zero])


def _matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    angle_sq = axis_angle.square().sum(-1)[..., None, None]
    small = angle_sq < _SMALL_ANGLE_SQ[axis_angle.dtype]
    safe_sq = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe_sq.sqrt()
    sine = torch.where(small, 1 - angle_sq / 6 + angle_sq**2 / 120, angle.sin() / angle)
    # 1 - cos written with the half angle, which does not cancel
    versine = 2 * (angle / 2).sin().square() / safe_sq
    versine = torch.where(small, 0.5 - angle_sq / 24 + angle_sq**2 / 720, versine)
    skew = _skew(axis_angle)
    return torch.eye(3, dtype=skew.dtype, device=skew.device) + sine * skew + versine * (skew @ skew)


def _quat_from_axis_angle(axis_angle: Tensor) -> Tensor:
    angle_sq = axis_angle.square().sum(-1, keepdim=True)
    small = angle_sq < _SMALL_ANGLE_SQ[axis_angle.dtype]
    angle = torch.where(small, torch.ones_like(angle_sq), angle_sq).sqrt()
    scale = torch.where(small, 0.5 - angle_sq / 48 + angle_sq**2 / 3840, (angle / 2).sin() / angle)
    cosine = torch.where(small, 1 - angle_sq / 8 + angle_sq**2 / 384, (angle / 2).cos())
    return torch.cat([cosine, scale * axis_angle], -1)


def _axis_angle_from_quat(quat: Tensor) -> Tensor:
    quat = torch.where(quat[..., :1] < 0, -quat, quat)
    w, vector = quat[..., :1], quat[..., 1:]
    sine_sq = vector.square().sum(-1, keepdim=True)
    small = sine_sq < _SMALL_ANGLE_SQ[quat.dtype] * w.square()
    sine = torch.where(small, torch.ones_like(sine_sq), _positive(sine_sq)).sqrt()
    safe_w = torch.where(small & (w > 0), w, torch.ones_like(w))
    ratio_sq = sine_sq / safe_w.square()
    series = 2 / safe_w * (1 - ratio_sq / 3 + ratio_sq.square() / 5)
    return torch.where(small, series, 2 * torch.atan2(sine, w) / sine) * vector


def _axis_angle_from_matrix(matrix: Tensor) -> Tensor:
    return _axis_angle_from_quat(_quat_from_matrix(matrix))


def _quat_multiply(left: Tensor, right: Tensor) -> Tensor:
    return torch.stack(product(left.unbind(-1), right.unbind(-1)), -1)


def _matrix_from_quat(quat: Tensor) -> Tensor:
    length_sq = quat.square().sum(-1, keepdim=True)
    zero = length_sq < torch.finfo(quat.dtype).tiny
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=quat.dtype, device=quat.device)
    quat = torch.where(zero, identity, quat)
    w, x, y, z = (quat / torch.where(zero, torch.ones_like(length_sq), length_sq).sqrt()).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return _square(rows)


def _quat_from_matrix(matrix: Tensor) -> Tensor:
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    # row k is 4 q_k (w, x, y, z); the row of the largest component is well conditioned
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12], -1),
            torch.stack([m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = rows.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quat = row / row.square().sum(-1, keepdim=True).sqrt()
    return torch.where(quat[..., :1] < 0, -quat, quat)


def _matrix_from_sixd(sixd: Tensor) -> Tensor:
    first, second = sixd[..., :3], sixd[..., 3:]
    axes = torch.eye(3, dtype=sixd.dtype, device=sixd.device)
    x = _normalised(first, axes[0])
    # compare with the length of `second`, so that tiny but independent vectors still count
    normal = torch.linalg.cross(x, _normalised(second, axes[1]))
    spare = torch.linalg.cross(x, axes[x.detach().abs().argmin(-1)])
    parallel = normal.square().sum(-1, keepdim=True) < 4 * torch.finfo(sixd.dtype).eps ** 2
    z = _normalised(torch.where(parallel, spare, normal), axes[2])
    return torch.stack([x, torch.linalg.cross(z, x), z], -1)


def _sixd_from_matrix(matrix: Tensor) -> Tensor:
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def _geodesic_distance(matrix_a: Tensor, matrix_b: Tensor) -> Tensor:
    quat = _quat_from_matrix(matrix_a.transpose(-1, -2) @ matrix_b)
    sine_sq = quat[..., 1:].square().sum(-1)
    tiny = sine_sq < torch.finfo(quat.dtype).tiny
    sine = torch.where(tiny, torch.zeros_like(sine_sq), torch.where(tiny, 1.0, sine_sq).sqrt())
    return 2 * torch.atan2(sine, quat[..., 0])


def _slerp(matrix_a: Tensor, matrix_b: Tensor, fraction: Tensor) -> Tensor:
    step = _axis_angle_from_matrix(matrix_a.transpose(-1, -2) @ matrix_b)
    return matrix_a @ _matrix_from_axis_angle(fraction.to(step)[..., None] * step)


def _geodesic_mean(matrices: Tensor, weights: Tensor | None, iterations: int) -> Tensor:
    if matrices.ndim < 3 or matrices.shape[-3] == 0:
        found = tuple(matrices.shape)
        raise ValueError(f"geodesic_mean: expected shape (..., N, 3, 3) with N >= 1, found {found}")
    if weights is None:
        weights = matrices.new_ones(matrices.shape[-3])
    if bool((weights < 0).any()) or bool((weights.sum(-1) <= 0).any()):
        raise ValueError("geodesic_mean: weights must be non-negative with a positive sum")
    share = (weights / weights.sum(-1, keepdim=True)).to(matrices)[..., None]
    mean = polar_rotation((share[..., None] * matrices).sum(-3)).detach()
    for _ in range(iterations):
        steps = _axis_angle_from_matrix(mean.transpose(-1, -2)[..., None, :, :] @ matrices)
        mean = mean @ _matrix_from_axis_angle((share * steps).sum(-2))
    return mean


def _positive(value: Tensor) -> Tensor:
    """The value, kept off zero so that its square root has a finite gradient."""
    return value.clamp_min(torch.finfo(value.dtype).tiny)


def _normalised(vector: Tensor, fallback: Tensor) -> Tensor:
    """Unit vectors (..., 3); vectors too short to have a direction become ``fallback``."""
    scale = vector.abs().amax(-1, keepdim=True)
    short = scale < 1e-18
    vector = torch.where(short, fallback, vector / torch.where(short, 1.0, scale))
    return vector / vector.square().sum(-1, keepdim=True).sqrt()
