"""Gauss-Newton on pose, place and shape of one person with keypoints as evidence; compiled.

The unknown is the error state x = (latent 63, turn of the root 3, place 3, shape 10); its prior is Gaussian
with mean 0 and variances v. The energy, a negative log-posterior, is

    E(x) = sum_k c_k rho(|r_k(x)|) + 1/2 sum_i x_i^2 / v_i,      rho(r) = 1/2 s^2 log(1 + r^2 / s^2),

with r_k the distance of keypoint k in its standard deviations and rho the Cauchy loss. Each iteration solves
for the 2K residuals instead of the 79 unknowns (an iterated, robust Kalman update):

    x = -V H' (I + H V H')^-1 (r - H x_i),

rows of H and r weighted for the loss. No iteration allocates.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from kinestream.body.skeleton import NUM_BETAS, NUM_FLOW_JOINTS, NUM_JOINTS, NUM_KEYPOINTS
from kinestream.filtering.keypoint_kinematics import (
    BodyArrays,
    Posed,
    pose_body,
    posed_workspace,
    project,
    shape_slopes,
    subtree_sums,
    turn_slope,
)
from kinestream.kernels.array_types import Float64Array
from kinestream.latent.flow_map import exp_and_right_jacobian
from kinestream.latent.robust import cauchy, cauchy_weight

LATENT = 3 * NUM_FLOW_JOINTS
ROOT, PLACE, SHAPE = LATENT, LATENT + 3, LATENT + 6
STATE = SHAPE + NUM_BETAS
"""Length of the error state, and where its parts begin."""
ROWS = 2 * NUM_KEYPOINTS
_FAST = {"reassoc", "contract"}


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


class Workspace(NamedTuple):
    """Everything that the solver writes to."""

    state: Float64Array  # (79,) the best x so far
    trial: Float64Array  # (79,)
    local: Float64Array  # (24, 3, 3)
    right: Float64Array  # (24, 3, 3) right Jacobians of the joints' turns since the prior
    place: Float64Array  # (3,)
    betas: Float64Array  # (10,)
    posed: Posed
    sums: Float64Array  # (23, 24, 4)
    joint_slopes: Float64Array  # (24, 3, 10)
    shape_slopes: Float64Array  # (23, 3, 10)
    pixel: Float64Array  # (2,)
    slope: Float64Array  # (2, 3)
    turn: Float64Array  # (3, 3)
    residual: Float64Array  # (46,) then weighted
    jacobian: Float64Array  # (46, 79)
    scaled: Float64Array  # (46, 79) jacobian times variance
    gram: Float64Array  # (46, 46) its lower triangle becomes the Cholesky factor
    dual: Float64Array  # (46,)
    square: Float64Array  # (23,) squared residuals in standard deviations, of the last trial


def workspace(body: BodyArrays) -> Workspace:
    """An empty workspace for a body."""
    return Workspace(
        np.zeros(STATE), np.zeros(STATE), np.zeros((NUM_JOINTS, 3, 3)), np.zeros((NUM_JOINTS, 3, 3)),
        np.zeros(3), np.zeros(NUM_BETAS), posed_workspace(body), np.zeros((NUM_KEYPOINTS, NUM_JOINTS, 4)),
        np.zeros((NUM_JOINTS, 3, NUM_BETAS)), np.zeros((NUM_KEYPOINTS, 3, NUM_BETAS)), np.zeros(2),
        np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(ROWS), np.zeros((ROWS, STATE)), np.zeros((ROWS, STATE)),
        np.zeros((ROWS, ROWS)), np.zeros(ROWS), np.zeros(NUM_KEYPOINTS),
    )  # fmt: skip


@njit(cache=True)
def solve(body: BodyArrays, prior: Prior, evidence: Evidence, work: Workspace, iterations: int) -> float:
    """Leave the best error state in ``work.state``, its body in ``work.posed``; returns its energy.

    The energy is never above that of the prior's mean. A step that raises it is halved in the next iteration.
    """
    for n in range(STATE):
        work.state[n] = work.trial[n] = 0.0
    best = np.inf
    for i in range(iterations + 1):
        energy = evaluate(body, prior, evidence, work, work.trial)
        if energy < best or i == 0:
            best = energy
            for n in range(STATE):
                work.state[n] = work.trial[n]
            if i == iterations:
                return best
            rows = linearise(body, prior, evidence, work)
            step(prior, work, rows)
        else:
            for n in range(STATE):
                work.trial[n] = 0.5 * (work.trial[n] + work.state[n])
    return evaluate(body, prior, evidence, work, work.state)


@njit(cache=True)
def evaluate(
    body: BodyArrays, prior: Prior, evidence: Evidence, work: Workspace, state: Float64Array
) -> float:
    """Pose the body of an error state and return its energy; infinite where a used keypoint is unseen."""
    energy = prior_energy(prior, state)
    apply_state(prior, state, work)
    pose_body(body, work.local, work.place, work.betas, work.posed)
    return energy + keypoint_energy(evidence, work)


@njit(cache=True)
def evaluate_pixels(
    body: BodyArrays, prior: Prior, camera: Float64Array, work: Workspace, pixels: Float64Array
) -> None:
    """Fill the pixels (23, 2) of the prior's body; NaN where it has no picture."""
    for n in range(STATE):
        work.trial[n] = 0.0
    apply_state(prior, work.trial, work)
    pose_body(body, work.local, work.place, work.betas, work.posed)
    for k in range(NUM_KEYPOINTS):
        if project(camera, work.posed.keypoints[k], work.pixel, work.slope):
            pixels[k, 0], pixels[k, 1] = work.pixel[0], work.pixel[1]
        else:
            pixels[k, 0] = pixels[k, 1] = np.nan


@njit(cache=True)
def prior_energy(prior: Prior, state: Float64Array) -> float:
    """Half the squared Mahalanobis distance from the prior's mean."""
    energy = 0.0
    for n in range(STATE):
        energy += 0.5 * state[n] * state[n] / prior.variance[n]
    return energy


@njit(cache=True)
def keypoint_energy(evidence: Evidence, work: Workspace) -> float:
    """Robust energy of the body in ``work.posed``; squared residuals go to ``work.square``."""
    energy = 0.0
    for k in range(NUM_KEYPOINTS):
        work.square[k] = 0.0
        if evidence.weights[k] <= 0:
            continue
        if not project(evidence.camera, work.posed.keypoints[k], work.pixel, work.slope):
            return np.inf
        dx = (work.pixel[0] - evidence.pixels[k, 0]) * evidence.inverse_std[k]
        dy = (work.pixel[1] - evidence.pixels[k, 1]) * evidence.inverse_std[k]
        work.square[k] = dx * dx + dy * dy
        energy += evidence.weights[k] * cauchy(work.square[k], evidence.robust)
    return energy


@njit(cache=True, fastmath=_FAST)
def apply_state(prior: Prior, state: Float64Array, work: Workspace) -> None:
    """Fill rotations, right Jacobians, place and shape of an error state."""
    exp, right, vector = work.turn, work.right, work.slope[0]
    for j in range(NUM_JOINTS):
        for r in range(3):
            value = 0.0
            if j == 0:
                value = state[ROOT + r]
            elif j <= NUM_FLOW_JOINTS:
                row = 3 * (j - 1) + r
                for n in range(LATENT):
                    value += prior.tangents[row, n] * state[n]
            vector[r] = value
        exp_and_right_jacobian(vector, exp, right[j])
        for r in range(3):
            for c in range(3):
                work.local[j, r, c] = (
                    prior.rotations[j, r, 0] * exp[0, c]
                    + prior.rotations[j, r, 1] * exp[1, c]
                    + prior.rotations[j, r, 2] * exp[2, c]
                )
    for r in range(3):
        work.place[r] = prior.place[r]
        for c in range(3):
            work.place[r] += prior.axes[r, c] * state[PLACE + c]
    for s in range(NUM_BETAS):
        work.betas[s] = prior.betas[s] + state[SHAPE + s]


@njit(cache=True, fastmath=_FAST)
def linearise(body: BodyArrays, prior: Prior, evidence: Evidence, work: Workspace) -> int:
    """Fill weighted residuals and their Jacobian for the body in ``work.posed``; returns the rows in use."""
    subtree_sums(body, work.posed, work.sums)
    shape_slopes(body, work.posed, work.joint_slopes, work.shape_slopes)
    rows = 0
    for k in range(NUM_KEYPOINTS):
        if evidence.weights[k] <= 0:
            continue
        project(evidence.camera, work.posed.keypoints[k], work.pixel, work.slope)
        weight = evidence.weights[k] * cauchy_weight(work.square[k], evidence.robust)
        scale = evidence.inverse_std[k] * np.sqrt(weight)
        for r in range(2):
            work.residual[rows + r] = scale * (work.pixel[r] - evidence.pixels[k, r])
            for c in range(3):
                work.slope[r, c] *= scale
        fill_rows(body, prior, work, k, rows)
        rows += 2
    return rows


@njit(cache=True, fastmath=_FAST)
def fill_rows(body: BodyArrays, prior: Prior, work: Workspace, keypoint: int, row: int) -> None:
    """Two rows of the Jacobian: of a keypoint whose picture moves by ``work.slope`` (2, 3) per metre."""
    for r in range(2):
        out = work.jacobian[row + r]
        for n in range(PLACE):
            out[n] = 0.0
        for c in range(3):
            out[PLACE + c] = 0.0
            for d in range(3):
                out[PLACE + c] += work.slope[r, d] * prior.axes[d, c]
        for s in range(NUM_BETAS):
            out[SHAPE + s] = 0.0
            for d in range(3):
                out[SHAPE + s] += work.slope[r, d] * work.shape_slopes[keypoint, d, s]
    for j in range(NUM_FLOW_JOINTS + 1):
        if not body.moves[keypoint, j]:
            continue
        turn_slope(work.posed, work.sums, work.place, keypoint, j, work.turn)
        for r in range(2):
            a, b, c = work.slope[r, 0], work.slope[r, 1], work.slope[r, 2]
            u = a * work.turn[0, 0] + b * work.turn[1, 0] + c * work.turn[2, 0]
            v = a * work.turn[0, 1] + b * work.turn[1, 1] + c * work.turn[2, 1]
            w = a * work.turn[0, 2] + b * work.turn[1, 2] + c * work.turn[2, 2]
            right = work.right[j]
            x = u * right[0, 0] + v * right[1, 0] + w * right[2, 0]
            y = u * right[0, 1] + v * right[1, 1] + w * right[2, 1]
            z = u * right[0, 2] + v * right[1, 2] + w * right[2, 2]
            out = work.jacobian[row + r]
            if j == 0:
                out[ROOT], out[ROOT + 1], out[ROOT + 2] = x, y, z
                continue
            first, second, third = (
                prior.tangents[3 * j - 3],
                prior.tangents[3 * j - 2],
                prior.tangents[3 * j - 1],
            )
            for n in range(LATENT):
                out[n] += x * first[n] + y * second[n] + z * third[n]


@njit(cache=True, fastmath=_FAST)
def step(prior: Prior, work: Workspace, rows: int) -> None:
    """Put the next iterate into ``work.trial``; ``work.state`` is where the Jacobian was taken."""
    factor_gram(prior, work, rows)
    for i in range(rows):
        value = work.residual[i]
        for n in range(STATE):
            value -= work.jacobian[i, n] * work.state[n]
        for j in range(i):
            value -= work.gram[i, j] * work.dual[j]
        work.dual[i] = value / work.gram[i, i]
    for i in range(rows - 1, -1, -1):
        value = work.dual[i]
        for j in range(i + 1, rows):
            value -= work.gram[j, i] * work.dual[j]
        work.dual[i] = value / work.gram[i, i]
    for n in range(STATE):
        work.trial[n] = 0.0
    for i in range(rows):
        for n in range(STATE):
            work.trial[n] -= work.scaled[i, n] * work.dual[i]


@njit(cache=True, fastmath=_FAST)
def factor_gram(prior: Prior, work: Workspace, rows: int) -> None:
    """Cholesky factor of I + H V H' in the lower triangle of ``work.gram``; ``work.scaled`` is H V."""
    for i in range(rows):
        for n in range(STATE):
            work.scaled[i, n] = work.jacobian[i, n] * prior.variance[n]
    for i in range(rows):
        for j in range(i + 1):
            value = 1.0 if i == j else 0.0
            for n in range(STATE):
                value += work.scaled[i, n] * work.jacobian[j, n]
            for n in range(j):
                value -= work.gram[i, n] * work.gram[j, n]
            work.gram[i, j] = np.sqrt(value) if i == j else value / work.gram[j, j]


@njit(cache=True, fastmath=_FAST)
def posterior_variance(prior: Prior, work: Workspace, rows: int, variance: Float64Array) -> None:
    """Fill ``variance`` (79,): the diagonal of V - V H' (I + H V H')^-1 H V, after `linearise`."""
    factor_gram(prior, work, rows)
    for n in range(STATE):
        variance[n] = prior.variance[n]
    for i in range(rows):
        row = work.scaled[i]
        for j in range(i):
            weight = work.gram[i, j]
            for n in range(STATE):
                row[n] -= weight * work.scaled[j, n]
        over = 1.0 / work.gram[i, i]
        for n in range(STATE):
            row[n] *= over
            variance[n] -= row[n] * row[n]
