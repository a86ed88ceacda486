"""Gauss-Newton on pose, place and shape of one person with keypoints as evidence.

The unknown is the error state x = (latent 63, turn of the root 3, place 3, shape 10); its prior is Gaussian
with mean 0 and variances v. The energy, a negative log-posterior, is

    E(x) = sum_k c_k rho(|r_k(x)|) + 1/2 sum_i x_i^2 / v_i,      rho(r) = 1/2 s^2 log(1 + r^2 / s^2),

with r_k the distance of keypoint k in its standard deviations and rho the Cauchy loss. Each iteration solves
for the 2K residuals instead of the 79 unknowns (an iterated, robust Kalman update):

    x = -V H' (I + H V H')^-1 (r - H x_i),

rows of H and r weighted for the loss; the rows of keypoints that are not used are 0.
"""

import math
from typing import NamedTuple

import numpy as np

from kinestream.body.skeleton import NUM_BETAS, NUM_FLOW_JOINTS, NUM_JOINTS, NUM_KEYPOINTS
from kinestream.filtering.keypoint_kinematics import KeypointKinematics, look
from kinestream.geometry.compiled_rotation import turn
from kinestream.kernels.array_types import Float64Array
from kinestream.kernels.caching import compiled

LATENT = 3 * NUM_FLOW_JOINTS
ROOT, PLACE, SHAPE = LATENT, LATENT + 3, LATENT + 6
STATE = SHAPE + NUM_BETAS
"""Length of the error state, and where its parts begin."""
ROWS = 2 * NUM_KEYPOINTS
_WIDTH = STATE + -STATE % 8
"""Rows are padded with zeros, so that they fill vector registers."""


class Prior(NamedTuple):
    """What is known before the keypoints."""

    rotations: Float64Array  # (24, 3, 3) relative to the parent joint; the root's in the camera frame
    tangents: Float64Array  # (63, 63 or more, then 0) turns of joints 1 to 21 by the latent, in their frames
    place: Float64Array  # (3,) pelvis, metres
    axes: Float64Array  # (3, 3) columns along which the place varies independently
    betas: Float64Array  # (10,)
    std: Float64Array  # (79,)


class Evidence(NamedTuple):
    """Keypoints in the picture."""

    pixels: Float64Array  # (23, 2)
    whitening: Float64Array  # (23, 3) xx, yx, yy of a lower triangle, 1 / px: residual -> deviations
    weights: Float64Array  # (23,) of the robust loss; 0 for keypoints that are not used
    camera: Float64Array  # (12,) see `camera_array`
    robust: float  # residual, in standard deviations, beyond which the loss flattens


class Solver:
    """Solves for one body, in arrays of its own.

    Attributes:
        state: (79,) the best error state so far.
        local, place, betas: (24, 3, 3), (3,), (10,) the body that was evaluated last.
        predicted: (23, 2) its keypoints in the picture; NaN where they have no picture.
        keypoint_energy: the part of its energy that is not the prior's.
    """

    def __init__(self, body: KeypointKinematics) -> None:
        self.body = body
        self.state = np.zeros(STATE)
        self.local = np.zeros((NUM_JOINTS, 3, 3))
        self.place, self.betas = np.zeros(3), np.zeros(NUM_BETAS)
        self.predicted = np.zeros((NUM_KEYPOINTS, 2))
        self.keypoint_energy = 0.0
        self._turns = np.zeros((NUM_JOINTS, 3))  # those of the hands stay 0
        self._right = np.zeros((NUM_JOINTS, 3, 3))
        self._residual = np.zeros((NUM_KEYPOINTS, 2))
        self._slope = np.zeros((NUM_KEYPOINTS, 2, 3))
        self._jacobian = np.zeros((ROWS, _WIDTH))
        self._whitened = np.zeros((ROWS, _WIDTH))
        self._factor = np.zeros((ROWS, ROWS))
        self._dual = np.zeros(ROWS)
        self._trial = np.zeros(STATE)

    def solve(self, prior: Prior, evidence: Evidence, iterations: int) -> float:
        """Leave the best error state in ``state``, its body evaluated; returns its energy.

        Begins at the prior's mean, whose body must be the one evaluated last; the energy is never above that.
        A step that raises it is halved in the next iteration.
        """
        self.state[:] = 0.0
        best = self.keypoint_energy
        trial, accepted = self._step(prior), False
        for i in range(iterations):
            energy = self.evaluate(prior, evidence, trial)
            accepted = energy < best
            if not accepted:
                trial += self.state
                trial *= 0.5
                continue
            best, self.state[:] = energy, trial
            if i < iterations - 1:
                trial = self._step(prior)
        return best if accepted else self.evaluate(prior, evidence, self.state)

    def evaluate(self, prior: Prior, evidence: Evidence, state: Float64Array) -> float:
        """Pose the body of an error state; its energy, infinite where a used keypoint is unseen."""
        energy = _displace(
            state, prior.std, prior.tangents, prior.axes, prior.place, prior.betas, self._turns, self.place,
            self.betas,
        )  # fmt: skip
        turn(prior.rotations, self._turns, self.local, self._right)
        self.body.place(self.local, self.betas)
        return float(energy) + self.evidence_energy(evidence)

    def evidence_energy(self, evidence: Evidence) -> float:
        """The keypoints' part of the energy of the body that was evaluated last."""
        self.keypoint_energy = look(
            evidence.camera, self.place, self.body.keypoints_m, evidence.pixels, evidence.whitening,
            evidence.weights, evidence.robust, self.predicted, self._residual, self._slope,
        )  # fmt: skip
        return self.keypoint_energy

    def linearise(self, prior: Prior) -> tuple[Float64Array, Float64Array]:
        """Weighted residuals (46,) and their Jacobian (46, 79) for the body that was evaluated last."""
        self.body.linearise(self._slope, self._right, prior.tangents, prior.axes, self._jacobian)
        return self._residual.reshape(ROWS), self._jacobian[:, :STATE]

    def _step(self, prior: Prior) -> Float64Array:
        """The next iterate from ``state``, whose body was evaluated last; overwritten by the next one."""
        self.linearise(prior)
        self._solve_linear(prior)
        return self._trial

    def _solve_linear(self, prior: Prior) -> None:
        _step(
            self._jacobian, self._residual.reshape(ROWS), prior.std, self.state, self._whitened,
            self._factor, self._dual, self._trial,
        )  # fmt: skip

    def learned(self, prior: Prior, independent: float) -> Float64Array:
        """W (46, 79): at ``state`` keypoints change the covariance to S (I - W' W) S, with S = diag(std).

        ``independent`` is the share of the keypoints that are counted.
        """
        self.linearise(prior)
        self._jacobian *= math.sqrt(independent)
        self._solve_linear(prior)
        _forward_substitute(self._factor, self._whitened)
        return self._whitened[:, :STATE]

    def joints(self, prior: Prior) -> Float64Array:
        """Derivatives (24, 66) of the joints' distance from the camera by latent and root, pelvis held."""
        by_turns = self.body.joints_by_turns(prior.axes[:, 2], self._right)
        return np.hstack([by_turns[:, 3 : LATENT + 3] @ prior.tangents[:, :LATENT], by_turns[:, :3]])


def prior_energy(prior: Prior, state: Float64Array) -> float:
    """Half the squared Mahalanobis distance from the prior's mean."""
    whitened = state / prior.std
    return 0.5 * float(whitened @ whitened)


_FAST = {"reassoc", "contract", "nsz"}


@compiled(error_model="numpy", fastmath=_FAST)
def _displace(
    state: Float64Array,
    std: Float64Array,
    tangents: Float64Array,
    axes: Float64Array,
    place: Float64Array,
    betas: Float64Array,
    turns: Float64Array,
    placed: Float64Array,
    shaped: Float64Array,
) -> float:
    """Fill turns (24, 3), place and betas of an error state; answers the prior's part of its energy."""
    latent, energy = tangents.shape[0], 0.0
    for c in range(state.shape[0]):
        energy += (state[c] / std[c]) * (state[c] / std[c])
    for r in range(latent):
        value = 0.0
        for c in range(latent):
            value += tangents[r, c] * state[c]
        turns[1 + r // 3, r % 3] = value
    for r in range(3):
        turns[0, r] = state[latent + r]
        placed[r] = place[r]
        for c in range(3):
            placed[r] += axes[r, c] * state[latent + 3 + c]
    for c in range(betas.shape[0]):
        shaped[c] = betas[c] + state[latent + 6 + c]
    return 0.5 * energy


@compiled(error_model="numpy", fastmath=_FAST)
def _step(
    jacobian: Float64Array,
    residual: Float64Array,
    std: Float64Array,
    state: Float64Array,
    whitened: Float64Array,
    factor: Float64Array,
    dual: Float64Array,
    trial: Float64Array,
) -> None:
    """Fill ``trial`` (next iterate), ``whitened`` (H V^(1/2)) and ``factor`` (a lower triangle)."""
    rows, size = whitened.shape[0], std.shape[0]
    for i in range(rows):
        value = residual[i]
        for c in range(size):
            whitened[i, c] = jacobian[i, c] * std[c]
            value -= jacobian[i, c] * state[c]
        dual[i] = value
    for i in range(0, rows, 2):  # by blocks of two by two: rows come in pairs
        for j in range(0, i + 1, 2):
            aa = ab = ba = bb = 0.0
            for c in range(whitened.shape[1]):
                aa += whitened[i, c] * whitened[j, c]
                ab += whitened[i, c] * whitened[j + 1, c]
                ba += whitened[i + 1, c] * whitened[j, c]
                bb += whitened[i + 1, c] * whitened[j + 1, c]
            factor[i, j], factor[i, j + 1], factor[i + 1, j], factor[i + 1, j + 1] = aa, ab, ba, bb
        factor[i, i] += 1.0
        factor[i + 1, i + 1] += 1.0
    for i in range(rows):
        for j in range(i + 1):
            value = factor[i, j]
            for c in range(j):
                value -= factor[i, c] * factor[j, c]
            factor[i, j] = np.sqrt(value) if i == j else value / factor[j, j]
        value = dual[i]
        for c in range(i):
            value -= factor[i, c] * dual[c]
        dual[i] = value / factor[i, i]
    for c in range(size):
        trial[c] = 0.0
    for i in range(rows - 1, -1, -1):
        value = dual[i] / factor[i, i]
        for c in range(i):
            dual[c] -= value * factor[i, c]
        for c in range(size):
            trial[c] -= value * whitened[i, c]
    for c in range(size):
        trial[c] *= std[c]


@compiled(error_model="numpy", fastmath=_FAST)
def _forward_substitute(lower: Float64Array, rows: Float64Array) -> None:
    """Solve a triangular system (n, n), n even, for columns (n, m), in place."""
    for i in range(rows.shape[0]):
        for j in range(0, i - 1, 2):
            first, second = lower[i, j], lower[i, j + 1]
            for c in range(rows.shape[1]):
                rows[i, c] -= first * rows[j, c] + second * rows[j + 1, c]
        if i % 2:
            factor = lower[i, i - 1]
            for c in range(rows.shape[1]):
                rows[i, c] -= factor * rows[i - 1, c]
        over = 1.0 / lower[i, i]
        for c in range(rows.shape[1]):
            rows[i, c] *= over
