"""The run-time decoder of the pose flow: plain numpy, a few dozen small matrix products, no torch dispatch.

`FlowDecoder(flow).decode(z)` equals `flow.decode(z)` within rounding (tested), at a fraction of the cost
for the few persons of a frame. Inverse linear layers are multiplied out once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from kinestream.defaults import ASSETS
from kinestream.kernels.array_types import AnyArray, Float32Array
from kinestream.networks.weight_files import WeightsError, read_weights

if TYPE_CHECKING:
    from kinestream.latent.flow import PoseFlow

DEFAULT_WEIGHTS: Final = ASSETS / "flow.safetensors"
FORMAT: Final = "kinestream.pose_flow.v1"
ADVICE: Final = "train a flow with `python -m kinestream.trainer.train_flow`"
CLAMP: Final = 2.0
"""Soft limit of a coupling's log-scales."""


@dataclass(frozen=True)
class _Affine:
    matrix: Float32Array  # (D, D), applied from the right
    mean: Float32Array

    def __call__(self, y: Float32Array) -> Float32Array:
        x: Float32Array = y @ self.matrix + self.mean
        return x


@dataclass(frozen=True)
class _Coupling:
    weights: tuple[Float32Array, ...]  # three matrices, applied from the right
    biases: tuple[Float32Array, ...]
    clamp: float

    def __call__(self, y: Float32Array) -> Float32Array:
        kept = len(self.weights[0])
        hidden = _silu(y[:, :kept] @ self.weights[0] + self.biases[0])
        hidden = _silu(hidden @ self.weights[1] + self.biases[1])
        out = hidden @ self.weights[2] + self.biases[2]
        moved = y.shape[1] - kept
        scale = np.exp(-self.clamp * np.tanh(out[:, :moved] / self.clamp))
        return np.concatenate([y[:, :kept], (y[:, kept:] - out[:, moved:]) * scale], axis=1)


@dataclass(frozen=True)
class _PReLU:
    inverse_slope: Float32Array

    def __call__(self, y: Float32Array) -> Float32Array:
        x: Float32Array = np.where(y > 0, y, y * self.inverse_slope)
        return x


def _silu(x: Float32Array) -> Float32Array:
    half = x * np.float32(0.5)  # x sigmoid(x), by tanh since exp overflows
    activated: Float32Array = half * np.tanh(half) + half
    return activated


class FlowDecoder:
    """Latents to rotations without torch; made from a flow.

    Attributes:
        dim: D, of the latents.
        flow_id: fingerprint of the flow, by which dynamics are known to fit.
    """

    def __init__(self, flow: PoseFlow | Mapping[str, AnyArray]) -> None:
        """Take a flow, or the arrays of its weights by name."""
        if not isinstance(flow, Mapping):
            flow = {name: value.detach().cpu().numpy() for name, value in flow.state_dict().items()}
        self.flow_id = fingerprint(flow)
        self._mean_rotations = _float32(flow["coordinates.mean_rotations"])
        self.dim = 3 * len(self._mean_rotations)
        count = 1 + max(int(name.split(".")[1]) for name in flow if name.startswith("layers."))
        self._layers = [self._layer(flow, index) for index in reversed(range(count))]

    @classmethod
    def load(cls, path: str | Path | None = None) -> FlowDecoder:
        """Read a flow; None gives the shipped one.

        Raises ``FileNotFoundError``, or ``WeightsError`` where the file is not such a pose flow.
        """
        path = path or DEFAULT_WEIGHTS
        try:
            made = cls(read_weights(path, kind=FORMAT, advice=ADVICE).arrays)
            made.decode(np.zeros(made.dim, np.float32))
        except (KeyError, ValueError, np.linalg.LinAlgError) as error:
            raise WeightsError(f"{path}: the weights do not fit this version's flow: {error}") from error
        return made

    @staticmethod
    def _layer(flow: Mapping[str, AnyArray], index: int) -> _Affine | _Coupling | _PReLU:
        name = f"layers.{index}."
        if name + "lower" in flow:
            diagonal = _float32(np.exp(flow[name + "log_diagonal"].astype(np.float64)))
            lower = np.tril(flow[name + "lower"].astype(np.float64), -1) + np.eye(len(diagonal))
            upper = np.triu(flow[name + "upper"].astype(np.float64), 1) + np.diag(diagonal)
            inverse = np.linalg.inv(lower @ upper)
            if index:  # all but the first are followed by a reversal
                inverse = inverse[:, ::-1]
            return _Affine(_float32(inverse.T), _float32(flow[name + "mean"]))
        if name + "log_slope" in flow:
            return _PReLU(_float32(np.exp(-flow[name + "log_slope"])))
        places = [f"{name}conditioner.{place}." for place in (0, 2, 4)]
        weights = tuple(_float32(flow[place + "weight"].T) for place in places)
        return _Coupling(weights, tuple(_float32(flow[place + "bias"]) for place in places), CLAMP)

    def decode(self, latent: Float32Array) -> Float32Array:
        """Latents (B, D) or (D,) to rotations (B, 21, 3, 3) or (21, 3, 3), float32."""
        y = np.asarray(latent, dtype=np.float32)
        if y.shape[-1:] != (self.dim,) or y.ndim > 2:
            raise ValueError(f"latents must be (B, {self.dim}) or ({self.dim},), found {y.shape}")
        y = y.reshape(-1, self.dim)
        for layer in self._layers:
            y = layer(y)
        rotations = self._mean_rotations @ _rodrigues(y.reshape(len(y), -1, 3))
        return rotations.reshape(*np.shape(latent)[:-1], *rotations.shape[1:])


def fingerprint(arrays: Mapping[str, AnyArray]) -> str:
    """Short hash of a flow's weights: dynamics fit one latent space only."""
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value, np.float16).tobytes())
    return digest.hexdigest()[:16]


def _float32(values: AnyArray) -> Float32Array:
    return np.ascontiguousarray(values, np.float32)


def _rodrigues(vectors: Float32Array) -> Float32Array:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3)."""
    squares = np.einsum("...i,...i->...", vectors, vectors)
    angle = np.sqrt(squares + np.float32(1e-12))
    half = np.float32(0.5) * angle
    sine = np.sin(half)
    b = np.float32(2.0) * np.square(sine / angle)  # (1 - cos a) / a^2
    a = np.float32(2.0) * sine * np.cos(half) / angle  # sin a / a
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    rotations: Float32Array = b[..., None, None] * (vectors[..., :, None] * vectors[..., None, :])
    diagonal = np.float32(1.0) - b * squares
    for axis in range(3):
        rotations[..., axis, axis] += diagonal
    for (row, column), component in (((2, 1), x), ((0, 2), y), ((1, 0), z)):
        rotations[..., row, column] += a * component
        rotations[..., column, row] -= a * component
    return rotations
