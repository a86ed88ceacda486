"""Gauss-Newton on pose, place and shape of one person with keypoints as evidence.

The unknown is the error state x = (latent 63, turn of the root 3, place 3, shape 10); its prior is Gaussian
with mean 0 and variances v. The energy, a negative log-posterior, is

    E(x) = sum_k c_k rho(|r_k(x)|) + 1/2 sum_i x_i^2 / v_i,      rho(r) = 1/2 s^2 log(1 + r^2 / s^2),

with r_k the distance of keypoint k in its standard deviations and rho the Cauchy loss. Each iteration solves
for the 2K residuals instead of the 79 unknowns (an iterated, robust Kalman update):

    x = -V H' (I + H V H')^-1 (r - H x_i),

rows of H and r weighted for the loss; the rows of keypoints that are not used are 0.
"""

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


class Prior(NamedTuple):
    """What is known before the keypoints."""

    rotations: Float64Array  # (24, 3, 3) relative to the parent joint; the root's in the camera frame
    tangents: Float64Array  # (63, 63) turns of joints 1 to 21 by the latent, rad in the turned joint's frame
    place: Float64Array  # (3,) pelvis, metres
    axes: Float64Array  # (3, 3) columns along which the place varies independently
    betas: Float64Array  # (10,)
    variance: Float64Array  # (79,)


class Evidence(NamedTuple):
    """Keypoints in the picture."""

    pixels: Float64Array  # (23, 2)
    inverse_std: Float64Array  # (23,) 1 / px
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
        self.predicted = np.zeros((NUM_KEYPOINTS, 2))
        self.keypoint_energy = 0.0
        self._turns = np.zeros((NUM_JOINTS, 3))  # those of the hands stay 0
        self._right = np.zeros((NUM_JOINTS, 3, 3))
        self._residual = np.zeros((NUM_KEYPOINTS, 2))
        self._slope = np.zeros((NUM_KEYPOINTS, 2, 3))
        self._jacobian = np.zeros((ROWS, STATE))
        self._whitened = np.zeros((ROWS, STATE + 1))
        self._gram = np.zeros((ROWS, ROWS))

    def solve(self, prior: Prior, evidence: Evidence, iterations: int) -> float:
        """Leave the best error state in ``state``, its body evaluated; returns its energy.

        Begins at the prior's mean, whose body must be the one evaluated last; the energy is never above that.
        A step that raises it is halved in the next iteration.
        """
        self.state[:] = 0.0
        best = self.evidence_energy(evidence)
        trial, accepted = self._step(prior), False
        for i in range(iterations):
            energy = self.evaluate(prior, evidence, trial)
            accepted = energy < best
            if not accepted:
                trial = 0.5 * (trial + self.state)
                continue
            best, self.state[:] = energy, trial
            if i < iterations - 1:
                trial = self._step(prior)
        return best if accepted else self.evaluate(prior, evidence, self.state)

    def evaluate(self, prior: Prior, evidence: Evidence, state: Float64Array) -> float:
        """Pose the body of an error state; its energy, infinite where a used keypoint is unseen."""
        self._turns[0] = state[ROOT:PLACE]
        self._turns[1 : NUM_FLOW_JOINTS + 1] = (prior.tangents @ state[:LATENT]).reshape(-1, 3)
        turn(prior.rotations, self._turns, self.local, self._right)
        self.place = prior.place + prior.axes @ state[PLACE:SHAPE]
        self.betas = prior.betas + state[SHAPE:]
        self.body.place(self.local, self.betas)
        return prior_energy(prior, state) + self.evidence_energy(evidence)

    def evidence_energy(self, evidence: Evidence) -> float:
        """The keypoints' part of the energy of the body that was evaluated last."""
        self.keypoint_energy = float(look(
            evidence.camera, self.place + self.body.keypoints_m, evidence.pixels, evidence.inverse_std,
            evidence.weights, evidence.robust, self.predicted, self._residual, self._slope,
        ))  # fmt: skip
        return self.keypoint_energy

    def linearise(self, prior: Prior) -> tuple[Float64Array, Float64Array]:
        """Weighted residuals (46,) and their Jacobian (46, 79) for the body that was evaluated last."""
        by_turns = self.body.by_turns(self._slope, self._right)
        out = self._jacobian
        np.matmul(by_turns[:, 3 : LATENT + 3], prior.tangents, out=out[:, :LATENT])
        out[:, ROOT:PLACE] = by_turns[:, :3]
        out[:, PLACE:SHAPE] = self._slope.reshape(ROWS, 3) @ prior.axes
        out[:, SHAPE:] = self.body.by_shape(self._slope)
        return self._residual.reshape(ROWS), out

    def _step(self, prior: Prior) -> Float64Array:
        """The next iterate from ``state``, whose body was evaluated last."""
        residual, jacobian = self.linearise(prior)
        self._whiten(prior, jacobian, residual - jacobian @ self.state)
        return -(self._whitened[:, STATE] @ self._whitened[:, :STATE])

    def _whiten(self, prior: Prior, jacobian: Float64Array, residual: Float64Array) -> None:
        """Fill L^-1 (H V, r), where L L' = I + H V H'."""
        scaled = self._whitened[:, :STATE]
        np.multiply(jacobian, prior.variance, out=scaled)
        self._whitened[:, STATE] = residual
        np.matmul(scaled, jacobian.T, out=self._gram)
        self._gram.flat[:: ROWS + 1] += 1.0
        _forward_substitute(np.linalg.cholesky(self._gram), self._whitened)

    def explained(self, prior: Prior, independent: float) -> Float64Array:
        """W (46, 79), by which keypoints change the covariance at ``state``: it becomes V - W' W.

        ``independent`` is the share of the keypoints that are counted.
        """
        residual, jacobian = self.linearise(prior)
        jacobian *= np.sqrt(independent)
        self._whiten(prior, jacobian, residual)
        return self._whitened[:, :STATE]

    def joints(self, prior: Prior) -> Float64Array:
        """Derivatives (24, 66) of the joints' distance from the camera by latent and root, pelvis held."""
        by_turns = self.body.joints_by_turns(prior.axes[:, 2], self._right)
        return np.hstack([by_turns[:, 3 : LATENT + 3] @ prior.tangents, by_turns[:, :3]])


def prior_energy(prior: Prior, state: Float64Array) -> float:
    """Half the squared Mahalanobis distance from the prior's mean."""
    return 0.5 * float((state / prior.variance) @ state)


@compiled(error_model="numpy")
def _forward_substitute(lower: Float64Array, rows: Float64Array) -> None:
    """Solve a triangular system (n, n) for columns (n, m), in place."""
    for i in range(rows.shape[0]):
        for j in range(i):
            factor = lower[i, j]
            for n in range(rows.shape[1]):
                rows[i, n] -= factor * rows[j, n]
        over = 1.0 / lower[i, i]
        for n in range(rows.shape[1]):
            rows[i, n] *= over
