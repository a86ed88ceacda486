"""Keypoints of a body in the picture, and their derivatives by turns of joints, place and shape.

The body is that of `kinestream.body.kinematics.CompiledKinematics`: each keypoint is a sum of a few points
that are rigid to a few joints, ``k = sum_i (G_j x_i + m_i p_j)`` over its pairs i with joint j, of turn G_j
and position p_j. Where joint a turns by d (a rotation vector in its own turned frame), all pairs below turn
about p_a:

    dk = (G_a d) x (S_ka - M_ka p_a),   S_ka, M_ka = sums of k's points and masses at or below a.

Rest positions are linear in the betas: ``dk / dbetas = sum_j G_j C_kj`` with constants C_kj of the body. The
dependence of pose correctives on the turns is left out of the derivative (not out of the keypoints): they
move a keypoint by millimetres.

Two loops are compiled, the rest is matrix products: compiling is what a first start waits for.
"""

import numpy as np
import numpy.typing as npt

from kinestream.body.arrays import BodyArrays
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.skeleton import NUM_JOINTS, NUM_KEYPOINTS, PARENTS
from kinestream.geometry.camera import MIN_DEPTH_M, Camera
from kinestream.kernels.array_types import Float64Array, Int64Array
from kinestream.kernels.caching import compiled

_PARENTS = np.array(PARENTS)


class KeypointKinematics(CompiledKinematics):
    """A body whose keypoints are to be moved. Not thread-safe: results are overwritten by the next call.

    Attributes:
        joints_m, keypoints_m: (24, 3), (23, 3) of the posed body, from the pelvis, in the camera's axes.
    """

    @classmethod
    def with_offsets(cls, body: BodyArrays, offsets_m: Float64Array | None = None) -> "KeypointKinematics":
        """A body whose keypoints are moved by (23, 3), in the rest frames of the joints that move them."""
        made = cls.of(body)
        assert isinstance(made, KeypointKinematics)
        if offsets_m is not None:
            made._rest_template[NUM_JOINTS:] += made._pair_mass[:, None] * offsets_m[made._pairs[:, 0]]
        made._prepare()
        return made

    def _prepare(self) -> None:
        """Masses at or below each joint, and the change of rest positions with the shape, by keypoint."""
        directions = self._rest_shapedirs.reshape(len(self._rest_template), 3, -1)
        joints, pairs = directions[:NUM_JOINTS], directions[NUM_JOINTS:]
        self._masses = np.zeros((NUM_KEYPOINTS, NUM_JOINTS))
        by_shape = np.zeros((NUM_KEYPOINTS, NUM_JOINTS, *directions.shape[1:]))
        for (keypoint, joint), mass, direction in zip(self._pairs, self._pair_mass, pairs, strict=True):
            by_shape[keypoint, joint] += direction - mass * joints[joint]
            while joint >= 0:
                self._masses[keypoint, joint] += mass
                parent = PARENTS[joint]
                if parent >= 0:
                    by_shape[keypoint, parent] += mass * (joints[joint] - joints[parent])
                joint = parent
        self._moves = np.zeros((NUM_KEYPOINTS, NUM_JOINTS), np.bool_)  # a mass may vanish where signs differ
        for keypoint, joint in self._pairs:
            while joint >= 0:
                self._moves[keypoint, joint] = True
                joint = PARENTS[joint]
        self._by_shape = by_shape.reshape(NUM_KEYPOINTS, 3 * NUM_JOINTS, -1)
        self._sums = np.zeros((NUM_KEYPOINTS, NUM_JOINTS, 3))
        self._rows = np.zeros((NUM_KEYPOINTS, 2, NUM_JOINTS, 3))
        # the joints themselves as points that turn with the joints above them
        above = np.array([[j, parent] for j, parent in enumerate(PARENTS) if parent >= 0])
        self._joint_moves = np.zeros((NUM_JOINTS, NUM_JOINTS), np.bool_)
        for joint, parent in above:
            self._joint_moves[joint] = self._joint_moves[parent]
            self._joint_moves[joint, parent] = True
        self._joint_masses = self._joint_moves.astype(np.float64)
        self._joint_pairs = above.astype(self._pairs.dtype)
        self._joint_rows = np.zeros((NUM_JOINTS, 2, NUM_JOINTS, 3))

    def place(self, local: Float64Array, betas: Float64Array) -> None:
        """Pose the body with rotations (24, 3, 3) relative to the parent joints and shape (S,)."""
        rest = self._rest_template + (self._rest_shapedirs @ betas).reshape(-1, 3)
        self._rest_joints, self._rest_pairs = rest[:NUM_JOINTS], rest[NUM_JOINTS:]
        self._pose(local)
        self.joints_m, self.keypoints_m = self._joints, self._keypoints

    def by_turns(self, slope: Float64Array, right: Float64Array) -> Float64Array:
        """Derivatives (46, 72) of the picture by rotation vectors of the joints.

        Args:
            slope: (23, 2, 3) of the picture by the keypoints.
            right: (24, 3, 3) right Jacobians of the joints' rotation vectors.

        """
        axes = self._turns @ right
        _turn_rows(
            self._pairs, self._masses, self._moves, self._points, self._joints, axes, slope, self._sums,
            self._rows,
        )  # fmt: skip
        return self._rows.reshape(2 * NUM_KEYPOINTS, -1)

    def joints_by_turns(self, direction: Float64Array, right: Float64Array) -> Float64Array:
        """Derivatives (24, 72) of the joints along a direction (3,), seen from the pelvis; as `by_turns`."""
        slope = np.zeros((NUM_JOINTS, 2, 3))
        slope[:, 0] = direction
        _turn_rows(
            self._joint_pairs, self._joint_masses, self._joint_moves, self._joints[1:], self._joints,
            self._turns @ right, slope, np.zeros((NUM_JOINTS, NUM_JOINTS, 3)), self._joint_rows,
        )  # fmt: skip
        return self._joint_rows[:, 0].reshape(NUM_JOINTS, -1)

    def by_shape(self, slope: Float64Array) -> Float64Array:
        """Derivatives (46, S) of the picture by the betas."""
        turns = self._turns.transpose(1, 0, 2).reshape(3, -1)
        rows = (slope.reshape(-1, 3) @ turns).reshape(NUM_KEYPOINTS, 2, -1)
        return np.asarray((rows @ self._by_shape).reshape(2 * NUM_KEYPOINTS, -1))


def camera_array(camera: Camera) -> Float64Array:
    """(12,) fx, fy, cx, cy and the eight coefficients of distortion."""
    values = np.zeros(12)
    values[:2], values[2:4] = camera.focal_px, camera.center_px
    values[4 : 4 + len(camera.distortion)] = camera.distortion
    return values


@compiled(error_model="numpy")
def look(
    camera: Float64Array,
    keypoints: Float64Array,
    pixels: Float64Array,
    inverse_std: Float64Array,
    weights: Float64Array,
    robust: float,
    predicted: Float64Array,
    residual: Float64Array,
    slope: Float64Array,
) -> float:
    """Robust energy of keypoints in the picture, and what it takes to lower it; see `keypoint_solver`.

    Keypoints have no picture near the image plane, behind it, and where a lens's polynomial folds over: they
    are predicted as NaN, and where one of them has a weight, the energy is infinite.

    Args:
        camera: (12,) see `camera_array`.
        keypoints: (23, 3) metres, camera frame.
        pixels: (23, 2) what was seen.
        inverse_std: (23,) 1 / px.
        weights: (23,) of the losses; 0 for keypoints that are not used.
        robust: residual, in standard deviations, beyond which the loss flattens (`latent.robust.cauchy`).
        predicted: (23, 2) to fill with the pixels of the keypoints.
        residual: (23, 2) to fill with residuals in standard deviations, weighted for the loss.
        slope: (23, 2, 3) to fill with their derivatives by the keypoints.

    """
    k1, k2, p1, p2 = camera[4], camera[5], camera[6], camera[7]
    k3, k4, k5, k6 = camera[8], camera[9], camera[10], camera[11]
    limit = robust * robust
    energy = 0.0
    for k in range(keypoints.shape[0]):
        depth = keypoints[k, 2]
        seen = depth > MIN_DEPTH_M
        over = 1.0 / depth if seen else 0.0
        x, y = keypoints[k, 0] * over, keypoints[k, 1] * over
        r2 = x * x + y * y
        bottom = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / bottom
        bend = (k1 + r2 * (2 * k2 + 3 * r2 * k3) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6))) / bottom
        xx = radial + 2 * x * x * bend + 2 * p1 * y + 6 * p2 * x
        xy = 2 * x * y * bend + 2 * p1 * x + 2 * p2 * y
        yy = radial + 2 * y * y * bend + 6 * p1 * y + 2 * p2 * x
        u = camera[0] * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)) + camera[2]
        v = camera[1] * (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y) + camera[3]
        seen = seen and radial > 0 and xx * yy - xy * xy > 0 and np.isfinite(u) and np.isfinite(v)
        predicted[k, 0] = u if seen else np.nan
        predicted[k, 1] = v if seen else np.nan
        scale = 0.0
        if weights[k] > 0:
            if seen:
                du, dv = (u - pixels[k, 0]) * inverse_std[k], (v - pixels[k, 1]) * inverse_std[k]
                square = du * du + dv * dv
                energy += weights[k] * 0.5 * limit * np.log1p(square / limit)
                scale = inverse_std[k] * np.sqrt(weights[k] / (1 + square / limit))
            else:
                energy = np.inf
        if scale == 0.0:
            for c in range(3):
                slope[k, 0, c] = slope[k, 1, c] = 0.0
            residual[k, 0] = residual[k, 1] = 0.0
            continue
        residual[k, 0], residual[k, 1] = scale * (u - pixels[k, 0]), scale * (v - pixels[k, 1])
        fx, fy = scale * camera[0] * over, scale * camera[1] * over
        slope[k, 0, 0], slope[k, 0, 1], slope[k, 0, 2] = fx * xx, fx * xy, -fx * (xx * x + xy * y)
        slope[k, 1, 0], slope[k, 1, 1], slope[k, 1, 2] = fy * xy, fy * yy, -fy * (xy * x + yy * y)
    return energy


@compiled(error_model="numpy")
def _turn_rows(
    pairs: Int64Array,
    masses: Float64Array,
    moves: npt.NDArray[np.bool_],
    points: Float64Array,
    joints: Float64Array,
    axes: Float64Array,
    slope: Float64Array,
    sums: Float64Array,
    rows: Float64Array,
) -> None:
    """Fill ``rows`` (23, 2, 24, 3) of the joints that move a keypoint; ``sums`` (23, 24, 3) is scratch."""
    for k in range(moves.shape[0]):
        for j in range(NUM_JOINTS):
            for r in range(3):
                sums[k, j, r] = 0.0
    for i in range(pairs.shape[0]):
        for r in range(3):
            sums[pairs[i, 0], pairs[i, 1], r] += points[i, r]
    for k in range(moves.shape[0]):
        for j in range(NUM_JOINTS - 1, -1, -1):
            if not moves[k, j]:
                continue
            if j > 0:
                for r in range(3):
                    sums[k, _PARENTS[j], r] += sums[k, j, r]
            x = sums[k, j, 0] - masses[k, j] * joints[j, 0]
            y = sums[k, j, 1] - masses[k, j] * joints[j, 1]
            z = sums[k, j, 2] - masses[k, j] * joints[j, 2]
            for r in range(2):
                a, b, c = slope[k, r, 0], slope[k, r, 1], slope[k, r, 2]
                u, v, w = y * c - z * b, z * a - x * c, x * b - y * a
                for e in range(3):
                    rows[k, r, j, e] = u * axes[j, 0, e] + v * axes[j, 1, e] + w * axes[j, 2, e]
