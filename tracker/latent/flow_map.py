"""The pose flow at run time, in both directions and with its derivative: numpy and compiled loops, no torch.

    flow_map = FlowMap(flow)
    rotations = flow_map.decode(z)                   # (B, 63) -> (B, 21, 3, 3), as FlowDecoder
    rotations = flow_map.rotations(z)                # one person, compiled
    rotations, tangents = flow_map.linearise(z)      # and how each joint turns with z
    z = flow_map.encode(rotations)

All agree with `PoseFlow` within rounding (tested). The derivative is taken coupling by coupling, from its
outputs backwards: a coupling has 31 outputs and 32 inputs, so its own Jacobian costs less than pushing 63
tangents through its hidden layers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit
from torch import nn

from kinestream.geometry.compiled_rotation import quat_from_matrix
from kinestream.kernels.array_types import Float32Array, Float64Array
from kinestream.latent.couplings import AffineCoupling, InvertibleLinear
from kinestream.latent.decode import FlowDecoder, _array
from kinestream.latent.flow import PoseFlow

_FAST = {"reassoc", "contract", "nsz"}


class _Layers(NamedTuple):
    """C couplings and L = C or C + 1 linear maps: towards the latent, map i comes before coupling i."""

    forward: Float32Array  # (L, D, D) y = forward @ (x - mean)
    inverse: Float32Array  # (L, D, D)
    mean: Float32Array  # (L, D)
    first: Float32Array  # (C, H, kept)
    second: Float32Array  # (C, H, H)
    third: Float32Array  # (C, 2 moved, H)
    first_bias: Float32Array
    second_bias: Float32Array
    third_bias: Float32Array
    clamp: Float32Array  # (C,)


class _Scratch(NamedTuple):
    """What one coupling leaves for its derivative."""

    hidden: Float32Array  # (H,)
    slope: Float32Array  # (H,) of the activation
    deep: Float32Array  # (H,)
    deep_slope: Float32Array  # (H,)
    out: Float32Array  # (2 moved,)
    scale: Float32Array  # (moved,)
    state: Float32Array  # (D,)
    moved: Float32Array  # (D,)


class FlowMap(FlowDecoder):
    """A `FlowDecoder` that also encodes and linearises; for Real-NVP flows with tangent coordinates.

    Not thread-safe: it computes in workspaces of its own.
    """

    def __init__(self, flow: PoseFlow) -> None:
        super().__init__(flow)
        self._means = self._mean_rotations.astype(np.float64)
        self._layers_of = _layers(flow)
        hidden, kept = self._layers_of.first.shape[1:]
        moved = self.dim - kept
        self._scratch = _Scratch(
            *(np.zeros(n, np.float32) for n in (hidden,) * 4 + (2 * moved, moved, self.dim, self.dim))
        )
        self._rows = np.zeros((moved, hidden), np.float32)
        self._deep_rows = np.zeros((moved, hidden), np.float32)
        self._own = np.zeros((moved, kept), np.float32)
        self._through = np.zeros((moved, self.dim), np.float32)
        self._jacobians = np.zeros((2, self.dim, self.dim), np.float32)
        self.encode(self.linearise(np.zeros(self.dim, np.float32))[0])  # compile now, not at the first person
        self.rotations(np.zeros(self.dim, np.float32))

    def rotations(self, latent: npt.ArrayLike) -> Float64Array:
        """Rotations (21, 3, 3) of a latent (63,)."""
        y = self._checked(latent)
        rotations = np.empty((self.dim // 3, 3, 3))
        _from_latent(self._layers_of, self._scratch, y)
        _turned(self._means, y.astype(np.float64).reshape(-1, 3), rotations)
        return rotations

    def encode(self, rotations: npt.ArrayLike) -> Float32Array:
        """Rotations (21, 3, 3) to the latent (63,), float32."""
        relative = self._means.transpose(0, 2, 1) @ np.asarray(rotations, np.float64)
        x = _rotation_vectors(quat_from_matrix(np.ascontiguousarray(relative))).reshape(-1)
        _to_latent(self._layers_of, self._scratch, x)
        return x

    def linearise(self, latent: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Rotations (21, 3, 3) of a latent (63,), and how they turn with it.

        The second result T (63, 63) says R(z + d) = R(z) exp(T d) to first order, joint by joint: rotation
        vectors in the frame of the turned joint.
        """
        y = self._checked(latent)
        layers, scratch = self._layers_of, self._scratch
        couplings, kept = len(layers.first), layers.first.shape[2]
        jacobian, spare = self._jacobians
        jacobian[:] = np.eye(self.dim)
        for i in range(len(layers.forward) - 1, -1, -1):
            if i < couplings:
                _coupling_rows(layers, i, scratch, y, self._rows)
                np.matmul(self._rows, layers.second[i], out=self._deep_rows)
                self._deep_rows *= scratch.slope
                np.matmul(self._deep_rows, layers.first[i], out=self._own)
                np.matmul(self._own, jacobian[:kept], out=self._through)
                _add_scaled(jacobian, scratch.scale, self._through)
            np.matmul(layers.inverse[i], jacobian, out=spare)
            _linear_inverse(layers, i, scratch, y)
            jacobian, spare = spare, jacobian
        rotations, tangents = np.empty((self.dim // 3, 3, 3)), np.empty((self.dim, self.dim))
        vectors = y.astype(np.float64).reshape(-1, 3)
        _turned(self._means, vectors, rotations)
        _tangents(vectors, jacobian, tangents)
        return rotations, tangents

    def _checked(self, latent: npt.ArrayLike) -> Float32Array:
        y = np.array(latent, np.float32)
        if y.shape != (self.dim,):
            raise ValueError(f"latent must be ({self.dim},), found {y.shape}")
        return y


def _layers(flow: PoseFlow) -> _Layers:
    linear = [layer for layer in flow.layers if isinstance(layer, InvertibleLinear)]
    couplings = [layer for layer in flow.layers if isinstance(layer, AffineCoupling)]
    expected = [InvertibleLinear if i % 2 == 0 else AffineCoupling for i in range(len(flow.layers))]
    if [type(layer) for layer in flow.layers] != expected or not couplings:
        raise TypeError(f"FlowMap needs a Real-NVP flow, found {flow.config.kind!r}")
    inverses = [layer.inverse_matrix() for layer in linear]
    networks = [[m for m in layer.conditioner if isinstance(m, nn.Linear)] for layer in couplings]

    def stacked(name: str, place: int) -> Float32Array:
        return np.stack([_array(getattr(network[place], name)) for network in networks])

    return _Layers(
        forward=np.stack([_array(matrix.inverse()) for matrix in inverses]),
        inverse=np.stack([_array(matrix) for matrix in inverses]),
        mean=np.stack([_array(layer.mean) for layer in linear]),
        first=stacked("weight", 0),
        second=stacked("weight", 1),
        third=stacked("weight", 2),
        first_bias=stacked("bias", 0),
        second_bias=stacked("bias", 1),
        third_bias=stacked("bias", 2),
        clamp=np.array([layer.clamp for layer in couplings], np.float32),
    )


def _rotation_vectors(quats: Float32Array) -> Float32Array:
    """Rotation vectors (N, 3) of unit quaternions (N, 4) with w >= 0."""
    sine = np.sqrt(np.square(quats[:, 1:]).sum(1))
    safe = np.maximum(sine, np.float32(1e-12))
    scale = np.where(sine > 1e-12, 2 * np.arctan2(sine, quats[:, 0]) / safe, np.float32(2))
    return np.asarray(quats[:, 1:] * scale[:, None], np.float32)


@njit(cache=True, fastmath=_FAST)
def _dense(weight: Float32Array, bias: Float32Array, given: Float32Array, out: Float32Array) -> None:
    for r in range(weight.shape[0]):
        value = bias[r]
        row = weight[r]
        for c in range(weight.shape[1]):
            value += row[c] * given[c]
        out[r] = value


@njit(cache=True)
def _activate(values: Float32Array, slope: Float32Array) -> None:
    """SiLU in place, and its slope."""
    half, one = np.float32(0.5), np.float32(1)
    for n in range(values.shape[0]):
        x = values[n]
        sigmoid = half * np.tanh(half * x) + half
        values[n] = x * sigmoid
        slope[n] = sigmoid + values[n] * (one - sigmoid)


@njit(cache=True)
def _conditioner(layers: _Layers, i: int, scratch: _Scratch, given: Float32Array) -> None:
    """Fill the scratch for coupling i: its network's activations, and the scale towards the latent."""
    _dense(layers.first[i], layers.first_bias[i], given, scratch.hidden)
    _activate(scratch.hidden, scratch.slope)
    _dense(layers.second[i], layers.second_bias[i], scratch.hidden, scratch.deep)
    _activate(scratch.deep, scratch.deep_slope)
    _dense(layers.third[i], layers.third_bias[i], scratch.deep, scratch.out)
    clamp = layers.clamp[i]
    for n in range(scratch.scale.shape[0]):
        scratch.scale[n] = np.exp(clamp * np.tanh(scratch.out[n] / clamp))


@njit(cache=True)
def _linear_inverse(layers: _Layers, i: int, scratch: _Scratch, y: Float32Array) -> None:
    _dense(layers.inverse[i], layers.mean[i], y, scratch.moved)
    for n in range(y.shape[0]):
        y[n] = scratch.moved[n]


@njit(cache=True)
def _to_latent(layers: _Layers, scratch: _Scratch, x: Float32Array) -> None:
    """Coordinates (D,) to the latent, in place."""
    kept, moved = layers.first.shape[2], scratch.scale.shape[0]
    for i in range(layers.forward.shape[0]):
        for n in range(x.shape[0]):
            scratch.moved[n] = np.float32(0)
            scratch.state[n] = x[n] - layers.mean[i, n]
        _dense(layers.forward[i], scratch.moved, scratch.state, x)
        if i < layers.first.shape[0]:
            _conditioner(layers, i, scratch, x)
            for n in range(moved):
                x[kept + n] = x[kept + n] * scratch.scale[n] + scratch.out[moved + n]


@njit(cache=True)
def _coupling_inverse(layers: _Layers, i: int, scratch: _Scratch, y: Float32Array) -> None:
    """Coupling i towards the pose, in place; leaves the scale of that direction."""
    kept, moved = layers.first.shape[2], scratch.scale.shape[0]
    _conditioner(layers, i, scratch, y)
    for n in range(moved):
        scratch.scale[n] = np.float32(1) / scratch.scale[n]
        y[kept + n] = (y[kept + n] - scratch.out[moved + n]) * scratch.scale[n]


@njit(cache=True)
def _from_latent(layers: _Layers, scratch: _Scratch, y: Float32Array) -> None:
    """Latent (D,) to coordinates, in place."""
    for i in range(layers.forward.shape[0] - 1, -1, -1):
        if i < layers.first.shape[0]:
            _coupling_inverse(layers, i, scratch, y)
        _linear_inverse(layers, i, scratch, y)


@njit(cache=True)
def _coupling_rows(layers: _Layers, i: int, scratch: _Scratch, y: Float32Array, rows: Float32Array) -> None:
    """Coupling i towards the pose, in place; ``rows`` (moved, H): its derivative by the deep layer.

    With log-scale -c tanh(a / c) and shift b, both linear in the hidden layer, x = (y - b) s gives
    dx = -s db - x (1 - tanh^2) da.
    """
    kept, moved = layers.first.shape[2], scratch.scale.shape[0]
    _coupling_inverse(layers, i, scratch, y)
    clamp, third = layers.clamp[i], layers.third[i]
    for r in range(moved):
        bend = np.tanh(scratch.out[r] / clamp)
        by_scale, by_shift = -y[kept + r] * (np.float32(1) - bend * bend), scratch.scale[r]
        for h in range(rows.shape[1]):
            rows[r, h] = (by_scale * third[r, h] - by_shift * third[moved + r, h]) * scratch.deep_slope[h]


@njit(cache=True)
def _add_scaled(jacobian: Float32Array, scale: Float32Array, through: Float32Array) -> None:
    """Scale the last rows of a Jacobian and add what comes through the coupling's network."""
    kept = jacobian.shape[0] - scale.shape[0]
    for r in range(scale.shape[0]):
        for n in range(jacobian.shape[1]):
            jacobian[kept + r, n] = jacobian[kept + r, n] * scale[r] + through[r, n]


@njit(cache=True)
def _turned(means: Float64Array, vectors: Float64Array, rotations: Float64Array) -> None:
    """Fill M exp(x) (N, 3, 3)."""
    exp, right = np.empty((3, 3)), np.empty((3, 3))
    for j in range(vectors.shape[0]):
        exp_and_right_jacobian(vectors[j], exp, right)
        for r in range(3):
            for c in range(3):
                rotations[j, r, c] = (
                    means[j, r, 0] * exp[0, c] + means[j, r, 1] * exp[1, c] + means[j, r, 2] * exp[2, c]
                )


@njit(cache=True)
def _tangents(vectors: Float64Array, jacobian: Float32Array, tangents: Float64Array) -> None:
    """Fill the right Jacobian of exp times that of the rotation vectors."""
    exp, right = np.empty((3, 3)), np.empty((3, 3))
    for j in range(vectors.shape[0]):
        exp_and_right_jacobian(vectors[j], exp, right)
        for r in range(3):
            for d in range(jacobian.shape[1]):
                tangents[3 * j + r, d] = (
                    right[r, 0] * jacobian[3 * j, d]
                    + right[r, 1] * jacobian[3 * j + 1, d]
                    + right[r, 2] * jacobian[3 * j + 2, d]
                )


@njit(cache=True)
def exp_and_right_jacobian(vector: Float64Array, exp: Float64Array, right: Float64Array) -> None:
    """Fill ``exp`` (3, 3) of a rotation vector and its right Jacobian: exp(v + d) = exp(v) exp(right d)."""
    x, y, z = vector[0], vector[1], vector[2]
    square = x * x + y * y + z * z
    if square < 1e-8:
        a, b, c = 1 - square / 6, 0.5 - square / 24, 1 / 6 - square / 120
    else:
        angle = np.sqrt(square)
        a, b = np.sin(angle) / angle, 2 * np.sin(0.5 * angle) ** 2 / square
        c = (1 - a) / square
    skew = ((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0))
    for r in range(3):
        for s in range(3):
            outer = vector[r] * vector[s] - (square if r == s else 0.0)
            one = 1.0 if r == s else 0.0
            exp[r, s] = one + a * skew[r][s] + b * outer
            right[r, s] = one - b * skew[r][s] + c * outer
