"""Arithmetic of a person's state: a root rotation on SO(3) and an error state that is a plain vector.

The error state has N = D + 6 dimensions: latent (D), rotation vector of the root in the pelvis frame (3), and
translation in the camera frame (3). Plain numpy and scalars: one person, a few microseconds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kinestream.filtering.base import PersonState
from kinestream.geometry.quaternion import Quat, conjugate, exp, log, product, unit
from kinestream.kernels.array_types import Float32Array


class Mean(NamedTuple):
    """Where a person is: z (D,), root wxyz, translation_m (3,)."""

    z: Float32Array
    root: Quat
    translation_m: Float32Array


def rotation_columns(quat: Quat) -> tuple[float, float, float, float, float, float]:
    """First and second column of the rotation matrix: the 6D coordinates."""
    w, x, y, z = quat
    return (
        1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
        2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
    )  # fmt: skip


def mean_of(state: PersonState) -> Mean:
    """The mean of an observation or estimate."""
    w, x, y, z = state.root_quat_wxyz.tolist()
    return Mean(state.z, unit((w, x, y, z)), state.translation_m)


def std_of(state: PersonState, *, floor: float) -> Float32Array:
    """Standard deviations (N,) of the error state, no smaller than ``floor``."""
    std = np.empty(len(state.z) + 6, np.float32)
    std[:-6] = state.z_std
    std[-6:-3] = state.root_std_rad
    std[-3:] = state.translation_std_m
    return np.asarray(np.maximum(std, floor), np.float32)


def is_finite(state: PersonState) -> bool:
    """Whether every number of an observation is finite, and its root is a rotation at all."""
    parts = (
        state.z, state.z_std, state.root_quat_wxyz, state.translation_m, state.translation_std_m,
        state.betas, state.betas_std,
    )  # fmt: skip
    finite = bool(np.isfinite(np.concatenate(parts)).all()) and math.isfinite(state.root_std_rad)
    return finite and float(np.abs(state.root_quat_wxyz).max()) > 1e-6


def difference(target: Mean, origin: Mean) -> Float32Array:
    """Error state (N,) that moves ``origin`` to ``target``."""
    error = np.empty(len(origin.z) + 6, np.float32)
    error[:-6] = target.z - origin.z
    error[-6:-3] = log(product(conjugate(origin.root), target.root))
    error[-3:] = target.translation_m - origin.translation_m
    return error


def move(mean: Mean, step: npt.NDArray[np.floating]) -> Mean:
    """The mean after an error state (N,)."""
    x, y, z = step[-6:-3].tolist()
    root = unit(product(mean.root, exp(x, y, z)))
    return Mean(mean.z + step[:-6], root, mean.translation_m + step[-3:])


def state_of(mean: Mean, std: Float32Array, betas: Float32Array, betas_std: Float32Array) -> PersonState:
    """The interchange type from mean, standard deviations (N,) and shape."""
    return PersonState(
        z=np.asarray(mean.z, np.float32),
        z_std=std[:-6],
        root_quat_wxyz=np.array(mean.root, np.float32),
        root_std_rad=math.sqrt(float(np.square(std[-6:-3]).mean())),
        translation_m=np.asarray(mean.translation_m, np.float32),
        translation_std_m=std[-3:],
        betas=betas,
        betas_std=betas_std,
    )
