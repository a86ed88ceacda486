"""Keypoints of a body in the picture, and their derivatives by turns of joints, place and shape; compiled.

The body is that of `kinestream.body.kinematics.CompiledKinematics`: each keypoint is a sum of a few points
that are rigid to a few joints, ``k = sum_i (G_j x_i + m_i p_j)`` over its pairs i with joint j, of turn G_j
and position p_j. Where joint a turns by d (a rotation vector in its own turned frame), all pairs below turn
about p_a:

    dk = (G_a d) x (S_ka - M_ka p_a),   S_ka, M_ka = sums of the points and masses of k's pairs at or below a.

The dependence of pose correctives on the turns is left out of the derivative (not out of the keypoints): they
move a keypoint by millimetres.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.skeleton import NUM_JOINTS, NUM_KEYPOINTS, PARENTS
from kinestream.geometry.camera import MIN_DEPTH_M, Camera
from kinestream.kernels.array_types import Float64Array, Int64Array

_PARENTS = np.array(PARENTS)
_FAST = {"reassoc", "contract"}


class BodyArrays(NamedTuple):
    """What a body is made of, see :class:`CompiledKinematics`."""

    template: Float64Array  # (24 + pairs, 3) with the constant part of the pose correctives
    shapedirs: Float64Array  # (24 + pairs, 3, S)
    pairs: Int64Array  # (pairs, 2) keypoint, joint
    pair_mass: Float64Array  # (pairs,)
    corrective_starts: Int64Array  # (pairs + 1,)
    corrective_entries: Int64Array  # (n, 3) joint, row, column of the rotations
    correctives: Float64Array  # (n, 3)
    moves: npt.NDArray[np.bool_]  # (23, 24) whether the joint moves the keypoint


class Posed(NamedTuple):
    """Workspace of one posed body."""

    rest: Float64Array  # (24 + pairs, 3)
    turns: Float64Array  # (24, 3, 3) of the joints, in the camera frame
    joints: Float64Array  # (24, 3) metres, camera frame
    points: Float64Array  # (pairs, 3) contributions to the keypoints, without the place
    keypoints: Float64Array  # (23, 3) metres, camera frame


def body_arrays(kinematics: CompiledKinematics, *, offsets_m: Float64Array | None = None) -> BodyArrays:
    """The arrays of a body that was collapsed for the hot path.

    ``offsets_m`` (23, 3) moves keypoints in the frames of the joints that move them (axes of the rest pose).
    """
    pairs = kinematics._pairs
    template = kinematics._rest_template.copy()
    if offsets_m is not None:
        for i, (keypoint, _) in enumerate(pairs):
            template[NUM_JOINTS + i] += kinematics._pair_mass[i] * offsets_m[keypoint]
    features = kinematics._features.astype(np.int64)
    identity = np.isin(features % 9, (0, 4, 8))  # correctives are linear in R - I
    owners = np.repeat(np.arange(len(pairs)), np.diff(kinematics._starts))
    np.subtract.at(template, NUM_JOINTS + owners[identity], kinematics._correctives[identity])
    moves = np.zeros((NUM_KEYPOINTS, NUM_JOINTS), np.bool_)
    for keypoint, joint in pairs:
        ancestor = int(joint)
        while ancestor >= 0:
            moves[keypoint, ancestor] = True
            ancestor = PARENTS[ancestor]
    return BodyArrays(
        np.ascontiguousarray(template),
        np.ascontiguousarray(kinematics._rest_shapedirs.reshape(len(kinematics._rest_template), 3, -1)),
        np.ascontiguousarray(pairs.astype(np.int64)),
        np.ascontiguousarray(kinematics._pair_mass),
        np.ascontiguousarray(kinematics._starts.astype(np.int64)),
        np.stack([1 + features // 9, features // 3 % 3, features % 3], 1),
        np.ascontiguousarray(kinematics._correctives),
        moves,
    )


def posed_workspace(body: BodyArrays) -> Posed:
    """An empty workspace."""
    return Posed(
        np.zeros_like(body.template),
        np.zeros((NUM_JOINTS, 3, 3)),
        np.zeros((NUM_JOINTS, 3)),
        np.zeros((len(body.pairs), 3)),
        np.zeros((NUM_KEYPOINTS, 3)),
    )


def camera_array(camera: Camera) -> Float64Array:
    """(12,) fx, fy, cx, cy and the eight coefficients of distortion."""
    values = np.zeros(12)
    values[:2], values[2:4] = camera.focal_px, camera.center_px
    values[4 : 4 + len(camera.distortion)] = camera.distortion
    return values


@njit(cache=True)
def pose_body(
    body: BodyArrays, local: Float64Array, place: Float64Array, betas: Float64Array, out: Posed
) -> None:
    """Fill ``out``: rotations (24, 3, 3) relative to the parents, pelvis (3,), shape (S,)."""
    rest, turns, joints = out.rest, out.turns, out.joints
    for i in range(rest.shape[0]):
        for c in range(3):
            value = body.template[i, c]
            for s in range(betas.shape[0]):
                value += body.shapedirs[i, c, s] * betas[s]
            rest[i, c] = value
    for j in range(NUM_JOINTS):
        parent = _PARENTS[j]
        for r in range(3):
            if parent < 0:
                joints[j, r] = place[r]
                for c in range(3):
                    turns[j, r, c] = local[j, r, c]
                continue
            joints[j, r] = joints[parent, r]
            for c in range(3):
                joints[j, r] += turns[parent, r, c] * (rest[j, c] - rest[parent, c])
                turns[j, r, c] = (
                    turns[parent, r, 0] * local[j, 0, c]
                    + turns[parent, r, 1] * local[j, 1, c]
                    + turns[parent, r, 2] * local[j, 2, c]
                )
    total = out.keypoints
    for k in range(NUM_KEYPOINTS):
        for r in range(3):
            total[k, r] = place[r]
    for i in range(body.pairs.shape[0]):
        k, j, mass = body.pairs[i, 0], body.pairs[i, 1], body.pair_mass[i]
        x, y, z = rest[NUM_JOINTS + i, 0], rest[NUM_JOINTS + i, 1], rest[NUM_JOINTS + i, 2]
        for n in range(body.corrective_starts[i], body.corrective_starts[i + 1]):
            joint, row = body.corrective_entries[n, 0], body.corrective_entries[n, 1]
            value = local[joint, row, body.corrective_entries[n, 2]]
            x += value * body.correctives[n, 0]
            y += value * body.correctives[n, 1]
            z += value * body.correctives[n, 2]
        x -= mass * rest[j, 0]
        y -= mass * rest[j, 1]
        z -= mass * rest[j, 2]
        for r in range(3):
            point = (
                turns[j, r, 0] * x
                + turns[j, r, 1] * y
                + turns[j, r, 2] * z
                + mass * (joints[j, r] - place[r])
            )
            out.points[i, r] = point
            total[k, r] += point


@njit(cache=True)
def project(camera: Float64Array, point: Float64Array, pixel: Float64Array, slope: Float64Array) -> bool:
    """Fill the pixel (2,) and its derivative (2, 3) by a point (3,); False where there is no picture of it.

    That is near the image plane and behind it, and where a lens's polynomial folds over.
    """
    if not point[2] > MIN_DEPTH_M:
        return False
    over = 1.0 / point[2]
    x, y = point[0] * over, point[1] * over
    xx, xy, yx, yy, u, v = 1.0, 0.0, 0.0, 1.0, x, y
    k1, k2, p1, p2 = camera[4], camera[5], camera[6], camera[7]
    k3, k4, k5, k6 = camera[8], camera[9], camera[10], camera[11]
    if k1 != 0 or k2 != 0 or p1 != 0 or p2 != 0 or k3 != 0 or k4 != 0 or k5 != 0 or k6 != 0:
        r2 = x * x + y * y
        top, bottom = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = top / bottom
        bend = (k1 + r2 * (2 * k2 + 3 * r2 * k3) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6))) / bottom
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        xx = radial + 2 * x * x * bend + 2 * p1 * y + 6 * p2 * x
        xy = 2 * x * y * bend + 2 * p1 * x + 2 * p2 * y
        yx = xy
        yy = radial + 2 * y * y * bend + 6 * p1 * y + 2 * p2 * x
        if not (radial > 0 and xx * yy - xy * yx > 0):
            return False
    pixel[0], pixel[1] = camera[0] * u + camera[2], camera[1] * v + camera[3]
    fx, fy = camera[0] * over, camera[1] * over
    slope[0, 0], slope[0, 1], slope[0, 2] = fx * xx, fx * xy, -fx * (xx * x + xy * y)
    slope[1, 0], slope[1, 1], slope[1, 2] = fy * yx, fy * yy, -fy * (yx * x + yy * y)
    return bool(np.isfinite(pixel[0]) and np.isfinite(pixel[1]))


@njit(cache=True)
def subtree_sums(body: BodyArrays, posed: Posed, sums: Float64Array) -> None:
    """Fill ``sums`` (23, 24, 4): of each keypoint, points and mass of the pairs at or below each joint."""
    for k in range(NUM_KEYPOINTS):
        for j in range(NUM_JOINTS):
            for r in range(4):
                sums[k, j, r] = 0.0
    for i in range(body.pairs.shape[0]):
        k, j = body.pairs[i, 0], body.pairs[i, 1]
        for r in range(3):
            sums[k, j, r] += posed.points[i, r]
        sums[k, j, 3] += body.pair_mass[i]
    for k in range(NUM_KEYPOINTS):
        for j in range(NUM_JOINTS - 1, 0, -1):
            if body.moves[k, j]:
                for r in range(4):
                    sums[k, _PARENTS[j], r] += sums[k, j, r]


@njit(cache=True)
def turn_slope(
    posed: Posed, sums: Float64Array, place: Float64Array, keypoint: int, joint: int, out: Float64Array
) -> None:
    """Fill ``out`` (3, 3): derivative of a keypoint (m) by a turn of a joint (rad, in the joint's frame)."""
    mass = sums[keypoint, joint, 3]
    lx = sums[keypoint, joint, 0] - mass * (posed.joints[joint, 0] - place[0])
    ly = sums[keypoint, joint, 1] - mass * (posed.joints[joint, 1] - place[1])
    lz = sums[keypoint, joint, 2] - mass * (posed.joints[joint, 2] - place[2])
    for e in range(3):
        ax, ay, az = posed.turns[joint, 0, e], posed.turns[joint, 1, e], posed.turns[joint, 2, e]
        out[0, e] = ay * lz - az * ly
        out[1, e] = az * lx - ax * lz
        out[2, e] = ax * ly - ay * lx


@njit(cache=True)
def shape_slopes(body: BodyArrays, posed: Posed, joint_slopes: Float64Array, slopes: Float64Array) -> None:
    """Fill the derivatives by the betas of joints (24, 3, S) and of keypoints (23, 3, S)."""
    size = body.shapedirs.shape[2]
    for j in range(NUM_JOINTS):
        parent = _PARENTS[j]
        for r in range(3):
            for s in range(size):
                if parent < 0:
                    joint_slopes[j, r, s] = 0.0
                    continue
                value = joint_slopes[parent, r, s]
                for c in range(3):
                    value += posed.turns[parent, r, c] * (
                        body.shapedirs[j, c, s] - body.shapedirs[parent, c, s]
                    )
                joint_slopes[j, r, s] = value
    for k in range(NUM_KEYPOINTS):
        for r in range(3):
            for s in range(size):
                slopes[k, r, s] = 0.0
    for i in range(body.pairs.shape[0]):
        k, j, mass = body.pairs[i, 0], body.pairs[i, 1], body.pair_mass[i]
        for r in range(3):
            for s in range(size):
                value = mass * joint_slopes[j, r, s]
                for c in range(3):
                    value += posed.turns[j, r, c] * (
                        body.shapedirs[NUM_JOINTS + i, c, s] - mass * body.shapedirs[j, c, s]
                    )
                slopes[k, r, s] += value
