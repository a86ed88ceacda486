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

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from kinestream.geometry.compiled_rotation import quat_from_matrix, turn
from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array
from kinestream.kernels.caching import compiled
from kinestream.latent.decode import FlowDecoder, _Affine, _Coupling, _PReLU

if TYPE_CHECKING:
    from kinestream.latent.flow import PoseFlow


ONE_BY_ONE = 6
"""So many latents at most are decoded in the compiled loop, 26 us each; products of matrices take 180 us."""


class _Layers(NamedTuple):
    """C couplings and L = C or C + 1 linear maps: towards the latent, map i comes before coupling i."""

    forward: Float32Array  # (L, D, D) y = forward @ x + forward_bias
    forward_bias: Float32Array  # (L, D)
    inverse: Float32Array  # (L, D, D) x = inverse @ y + mean
    mean: Float32Array  # (L, D)
    first: Float32Array  # (C, H, kept)
    second: Float32Array  # (C, H, H)
    third: Float32Array  # (C, 2 moved, H)
    first_bias: Float32Array
    second_bias: Float32Array
    third_bias: Float32Array
    clamp: Float32Array  # (C,)


class FlowMap(FlowDecoder):
    """A `FlowDecoder` that also encodes and linearises; for Real-NVP flows with tangent coordinates.

    Not thread-safe: it computes in workspaces of its own.
    """

    def __init__(self, flow: PoseFlow | Mapping[str, AnyArray]) -> None:
        super().__init__(flow)
        self._means = self._mean_rotations.astype(np.float64)
        self._layers_of = _stacked(self._layers[::-1])
        couplings, hidden, self._kept = self._layers_of.first.shape
        moved = self.dim - self._kept
        # What a pass leaves of each coupling: two layers with the slopes of their activations, the outputs,
        # the scales, and what was moved.
        self._activations = np.zeros((couplings, 4, hidden), np.float32)
        self._out = np.zeros((couplings, 2 * moved), np.float32)
        self._scale, self._after = np.zeros((2, couplings, moved), np.float32)
        self._spare = np.zeros(self.dim, np.float32)
        self._right = np.zeros((self.dim // 3, 3, 3))
        self._rows = np.zeros((2, moved, hidden), np.float32)
        self._jacobians = np.zeros((2, self.dim, self.dim), np.float32)
        self._identity = np.eye(self.dim, dtype=np.float32)
        self.encode(self.linearise(np.zeros(self.dim, np.float32))[0])  # compile now, not at the first person

    def decode(self, latent: Float32Array) -> Float32Array:
        """As `FlowDecoder.decode`: one by one where that is faster than the overhead of matrix products."""
        if np.ndim(latent) != 2 or len(latent) > ONE_BY_ONE:
            return super().decode(latent)
        rotations = np.empty((len(latent), self.dim // 3, 3, 3), np.float32)
        for row, each in zip(rotations, latent, strict=True):
            row[:] = self.rotations(each)
        return rotations

    def rotations(self, latent: npt.ArrayLike) -> Float64Array:
        """Rotations (21, 3, 3) of a latent (63,)."""
        y = np.array(latent, np.float32)
        if y.shape != (self.dim,):
            raise ValueError(f"latent must be ({self.dim},), found {y.shape}")
        self._pass(y, decode=True)
        rotations = np.empty((self.dim // 3, 3, 3))
        turn(self._means, y.astype(np.float64).reshape(-1, 3), rotations, self._right)
        return rotations

    def encode(self, rotations: npt.ArrayLike) -> Float32Array:
        """Rotations (21, 3, 3) to the latent (63,), float32."""
        relative = self._means.transpose(0, 2, 1) @ np.asarray(rotations, np.float64)
        x = np.empty(self.dim, np.float32)
        _rotation_vectors(quat_from_matrix(relative), x)
        self._pass(x, decode=False)
        return x

    def linearise(self, latent: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Rotations (21, 3, 3) of a latent (63,), and how they turn with it.

        The second result T (63, 63) says R(z + d) = R(z) exp(T d) to first order, joint by joint: rotation
        vectors in the frame of the turned joint.
        """
        rotations = self.rotations(latent)
        layers, kept = self._layers_of, self._kept
        rows, deep = self._rows
        jacobian, spare = self._jacobians
        jacobian[:] = self._identity
        for i in range(len(layers.forward) - 1, -1, -1):
            if i < len(layers.first):
                scale = self._scale[i]
                _outputs_back(
                    layers.third[i], self._activations[i, 3], self._out[i], scale, self._after[i],
                    layers.clamp[i], rows,
                )  # fmt: skip
                np.matmul(rows, layers.second[i], out=deep)
                deep *= self._activations[i, 1]
                through = (deep @ layers.first[i]) @ jacobian[:kept]
                jacobian[kept:] *= scale[:, None]
                jacobian[kept:] += through
            np.matmul(layers.inverse[i], jacobian, out=spare)
            jacobian, spare = spare, jacobian
        tangents = self._right @ jacobian.reshape(-1, 3, self.dim)
        return rotations, tangents.reshape(self.dim, self.dim)

    def _pass(self, x: Float32Array, *, decode: bool) -> None:
        """The coordinates (D,) of a latent, or the other way round, in place."""
        layers = self._layers_of
        _pass(
            layers.inverse if decode else layers.forward, layers.mean if decode else layers.forward_bias,
            layers.first, layers.first_bias, layers.second, layers.second_bias, layers.third,
            layers.third_bias, layers.clamp, decode, x, self._spare, self._activations, self._out,
            self._scale, self._after,
        )  # fmt: skip


def _stacked(layers: Sequence[_Affine | _Coupling | _PReLU]) -> _Layers:
    """The layers of a decoder in order, towards the latent."""
    linear = [layer for layer in layers if isinstance(layer, _Affine)]
    couplings = [layer for layer in layers if isinstance(layer, _Coupling)]
    expected = [_Affine if i % 2 == 0 else _Coupling for i in range(len(layers))]
    if [type(layer) for layer in layers] != expected or not couplings:
        raise TypeError("FlowMap needs a Real-NVP flow, found 'light'")
    inverse = np.ascontiguousarray([layer.matrix.T for layer in linear])
    forward = np.linalg.inv(inverse.astype(np.float64)).astype(np.float32)
    mean = np.stack([layer.mean for layer in linear])
    first, second, third = (
        np.ascontiguousarray([layer.weights[n].T for layer in couplings]) for n in range(3)
    )
    biases = [np.stack([layer.biases[n] for layer in couplings]) for n in range(3)]
    return _Layers(
        forward=forward,
        forward_bias=-(forward @ mean[:, :, None])[:, :, 0],
        inverse=inverse,
        mean=mean,
        first=first,
        second=second,
        third=third,
        first_bias=biases[0],
        second_bias=biases[1],
        third_bias=biases[2],
        clamp=np.array([layer.clamp for layer in couplings], np.float32),
    )


@compiled(error_model="numpy")
def _rotation_vectors(quats: Float32Array, out: Float32Array) -> None:
    """Fill (3 N,) with the rotation vectors of unit quaternions (N, 4) with w >= 0."""
    for n in range(quats.shape[0]):
        w, x, y, z = quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3]
        sine = np.sqrt(x * x + y * y + z * z)
        scale = np.float32(2) * np.arctan2(sine, w) / sine if sine > np.float32(1e-12) else np.float32(2)
        out[3 * n], out[3 * n + 1], out[3 * n + 2] = x * scale, y * scale, z * scale


@compiled(error_model="numpy", fastmath={"contract"})
def _outputs_back(
    third: Float32Array,
    slope: Float32Array,
    outputs: Float32Array,
    scales: Float32Array,
    after: Float32Array,
    clamp: float,
    rows: Float32Array,
) -> None:
    """Fill ``rows`` (moved, H): how what a coupling moved changes with the deeper hidden layer.

    With log-scale -c tanh(a / c) and shift b, both linear in that layer, x = (y - b) s gives
    dx = -s db - x (1 - tanh^2) da.
    """
    moved = rows.shape[0]
    for r in range(moved):
        bend = np.tanh(outputs[r] / clamp)
        by_scale, by_shift = after[r] * (bend * bend - np.float32(1)), -scales[r]
        for c in range(rows.shape[1]):
            rows[r, c] = slope[c] * (by_scale * third[r, c] + by_shift * third[moved + r, c])


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _dense(weight: Float32Array, bias: Float32Array, given: Float32Array, out: Float32Array) -> None:
    for r in range(weight.shape[0]):
        value = bias[r]
        for c in range(weight.shape[1]):
            value += weight[r, c] * given[c]
        out[r] = value


@compiled(error_model="numpy", fastmath={"contract"})
def _activate(values: Float32Array, slope: Float32Array) -> None:
    """SiLU in place, and its slope.

    With t = tanh(x / 4) the sigmoid is (1 + t)^2 / (2 + 2 t^2), and t follows from tanh(x / 8), a continued
    fraction: no call of the mathematical library, so that the loop fills vector registers.
    """
    for n in range(values.shape[0]):
        x = values[n]
        y = np.float32(0.125) * min(max(x, np.float32(-18)), np.float32(18))
        s = y * y
        top = np.float32(135135) + s * (np.float32(17325) + s * (np.float32(378) + s))
        bottom = np.float32(135135) + s * (np.float32(62370) + s * (np.float32(3150) + s * np.float32(28)))
        eighth = y * top / bottom
        t = np.float32(2) * eighth / (np.float32(1) + eighth * eighth)
        sigmoid = np.float32(0.5) * (np.float32(1) + t) * (np.float32(1) + t) / (np.float32(1) + t * t)
        values[n] = x * sigmoid
        slope[n] = sigmoid + values[n] * (np.float32(1) - sigmoid)


@compiled(error_model="numpy")
def _pass(
    matrices: Float32Array,
    biases: Float32Array,
    first: Float32Array,
    first_bias: Float32Array,
    second: Float32Array,
    second_bias: Float32Array,
    third: Float32Array,
    third_bias: Float32Array,
    clamps: Float32Array,
    decode: bool,
    x: Float32Array,
    spare: Float32Array,
    activations: Float32Array,
    outs: Float32Array,
    scales: Float32Array,
    after: Float32Array,
) -> None:
    """All layers in place: from the pose to the latent, or back; leaves what the derivative back needs."""
    count, kept, moved = matrices.shape[0], first.shape[2], scales.shape[1]
    for n in range(2 * count):
        # even steps of the way to the latent are linear maps, odd ones couplings; and back the reverse
        step = 2 * count - 1 - n if decode else n
        i = step // 2
        if step % 2 == 0:
            for c in range(x.shape[0]):
                spare[c] = x[c]
            _dense(matrices[i], biases[i], spare, x)
        elif i < first.shape[0]:
            layer, out = activations[i], outs[i]
            _dense(first[i], first_bias[i], x, layer[0])
            _activate(layer[0], layer[1])
            _dense(second[i], second_bias[i], layer[0], layer[2])
            _activate(layer[2], layer[3])
            _dense(third[i], third_bias[i], layer[2], out)
            for c in range(moved):
                scale = np.exp(clamps[i] * np.tanh(out[c] / clamps[i]))
                if decode:
                    scale = np.float32(1) / scale
                    x[kept + c] = (x[kept + c] - out[moved + c]) * scale
                else:
                    x[kept + c] = x[kept + c] * scale + out[moved + c]
                scales[i, c], after[i, c] = scale, x[kept + c]
