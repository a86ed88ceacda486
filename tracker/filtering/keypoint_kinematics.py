"""Keypoints of a body in the picture, and their derivatives by turns of joints, place and shape.

The body is that of `kinestream.body.kinematics.CompiledKinematics`: each keypoint is a sum of a few points
that are rigid to a few joints, ``k = sum_i (G_j x_i + m_i p_j)`` over its pairs i with joint j, of turn G_j
and position p_j. Where joint a turns by d (a rotation vector in its own turned frame), all pairs below turn
about p_a:

    dk = (G_a d) x (S_ka - M_ka p_a),   S_ka, M_ka = sums of k's points and masses at or below a.

Rest positions are linear in the betas: ``dk / dbetas = sum_j G_j C_kj`` with constants C_kj of the body. The
dependence of pose correctives on the turns is left out of the derivative (not out of the keypoints): they
move a keypoint by millimetres.

Few loops are compiled, and no product of matrices: compiling is what a first start waits for.
"""

import numpy as np

from kinestream.body.arrays import BodyArrays
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.skeleton import NUM_JOINTS, NUM_KEYPOINTS, PARENTS
from kinestream.geometry.camera import MIN_DEPTH_M, Camera
from kinestream.kernels.array_types import Float64Array, Int64Array
from kinestream.kernels.caching import compiled

_PARENTS = np.array(PARENTS)
_ANCESTORS: list[list[int]] = []
"""Each joint and those above it."""
for _joint, _parent in enumerate(PARENTS):
    _ANCESTORS.append([_joint, *(_ANCESTORS[_parent] if _parent >= 0 else ())])


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
        chains = [
            sorted({joint for k, moving in self._pairs if k == keypoint for joint in _ANCESTORS[moving]})
            for keypoint in range(NUM_KEYPOINTS)
        ]
        self._chain = np.array([joint for chain in chains for joint in reversed(chain)])
        self._chain_starts = np.cumsum([0, *map(len, chains)])
        self._by_shape = by_shape
        self._rest = np.zeros(self._rest_template.size)
        self._rest_joints, self._rest_pairs = np.split(self._rest.reshape(-1, 3), [NUM_JOINTS])
        self.joints_m, self.keypoints_m = self._joints, self._keypoints
        self._sums = np.zeros((NUM_JOINTS, 3))
        self._axes = np.zeros((NUM_JOINTS, 3, 3))
        self._hanging = np.zeros((NUM_JOINTS, NUM_JOINTS, 3))
        for joint, above in enumerate(_ANCESTORS):
            self._hanging[joint, above[1:]] = 1.0

    def place(self, local: Float64Array, betas: Float64Array) -> None:
        """Pose the body with rotations (24, 3, 3) relative to the parent joints and shape (S,)."""
        np.dot(self._rest_shapedirs, betas, out=self._rest)
        self._rest += self._rest_template.reshape(-1)
        self._pose(local)

    def linearise(
        self,
        slope: Float64Array,
        right: Float64Array,
        tangents: Float64Array,
        place_axes: Float64Array,
        out: Float64Array,
    ) -> None:
        """Derivatives of the picture by latent, turn of the root, place and shape.

        Args:
            slope: (23, 2, 3) of the picture by the keypoints.
            right: (24, 3, 3) right Jacobians of the joints' rotation vectors.
            tangents: (63, 63) turns of joints 1 to 21 by the latent; more columns, if any, are 0.
            place_axes: (3, 3) columns along which the place moves.
            out: (46, 79 or more) to fill; columns beyond are left alone.

        """
        _fill_jacobian(
            self._pairs, self._masses, self._chain_starts, self._chain, self._points, self._joints,
            self._turns, right, slope, tangents, place_axes, self._by_shape, self._sums, self._axes, out,
        )  # fmt: skip

    def joints_by_turns(self, direction: Float64Array, right: Float64Array) -> Float64Array:
        """Derivatives (24, 72) of the joints along a direction (3,), seen from the pelvis, by their turns."""
        x, y, z = direction.tolist()
        across = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ (self._turns @ right)
        own = np.matmul(self._joints[:, None], across).reshape(-1)
        moved = self._joints @ across.transpose(1, 0, 2).reshape(3, -1) - own
        return np.asarray(moved * self._hanging.reshape(NUM_JOINTS, -1))


def camera_array(camera: Camera) -> Float64Array:
    """(12,) fx, fy, cx, cy and the eight coefficients of distortion."""
    values = np.zeros(12)
    values[:2], values[2:4] = camera.focal_px, camera.center_px
    values[4 : 4 + len(camera.distortion)] = camera.distortion
    return values


@compiled(error_model="numpy")
def look(
    camera: Float64Array,
    place: Float64Array,
    keypoints: Float64Array,
    pixels: Float64Array,
    whitening: Float64Array,
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
        place: (3,) metres, camera frame.
        keypoints: (23, 3) metres, from the place.
        pixels: (23, 2) what was seen.
        whitening: (23, 3) xx, yx, yy of the lower triangles that turn pixels into standard deviations.
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
        depth = place[2] + keypoints[k, 2]
        seen = depth > MIN_DEPTH_M
        over = 1.0 / depth if seen else 0.0
        x, y = (place[0] + keypoints[k, 0]) * over, (place[1] + keypoints[k, 1]) * over
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
        scale = du = dv = 0.0
        if weights[k] > 0:
            if seen:
                du = whitening[k, 0] * (u - pixels[k, 0])
                dv = whitening[k, 1] * (u - pixels[k, 0]) + whitening[k, 2] * (v - pixels[k, 1])
                square = du * du + dv * dv
                energy += weights[k] * 0.5 * limit * np.log1p(square / limit)
                scale = np.sqrt(weights[k] / (1 + square / limit))
            else:
                energy = np.inf
        if scale == 0.0:
            for c in range(3):
                slope[k, 0, c] = slope[k, 1, c] = 0.0
            residual[k, 0] = residual[k, 1] = 0.0
            continue
        residual[k, 0], residual[k, 1] = scale * du, scale * dv
        fx, fy = camera[0] * over, camera[1] * over
        first, mixed, second = scale * whitening[k, 0], scale * whitening[k, 1], scale * whitening[k, 2]
        by_u = (fx * xx, fx * xy, -fx * (xx * x + xy * y))
        by_v = (fy * xy, fy * yy, -fy * (xy * x + yy * y))
        for c in range(3):
            slope[k, 0, c] = first * by_u[c]
            slope[k, 1, c] = mixed * by_u[c] + second * by_v[c]
    return energy


@compiled(inline="always")
def _by_axes(x: float, y: float, z: float, axes: Float64Array, j: int) -> tuple[float, float, float]:
    """A row vector times the matrix j of ``axes``."""
    return (
        x * axes[j, 0, 0] + y * axes[j, 1, 0] + z * axes[j, 2, 0],
        x * axes[j, 0, 1] + y * axes[j, 1, 1] + z * axes[j, 2, 1],
        x * axes[j, 0, 2] + y * axes[j, 1, 2] + z * axes[j, 2, 2],
    )


@compiled(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _fill_jacobian(
    pairs: Int64Array, masses: Float64Array, starts: Int64Array, chain: Int64Array, points: Float64Array,
    joints: Float64Array, turns: Float64Array, right: Float64Array, slope: Float64Array,
    tangents: Float64Array, place_axes: Float64Array, by_shape: Float64Array, sums: Float64Array,
    axes: Float64Array, out: Float64Array,
) -> None:  # fmt: skip
    """Fill ``out``; see `KeypointKinematics.linearise`. ``sums`` (24, 3) and ``axes`` (24, 3, 3) are scratch.

    ``chain[starts[k] : starts[k + 1]]`` are the joints that move keypoint k, children before parents.
    """
    latent, width = tangents.shape
    root, place, shape = latent, latent + 3, latent + 6
    for j in range(NUM_JOINTS):
        for r in range(3):
            sums[j, r] = 0.0
            for c in range(3):
                axes[j, r, c] = (
                    turns[j, r, 0] * right[j, 0, c]
                    + turns[j, r, 1] * right[j, 1, c]
                    + turns[j, r, 2] * right[j, 2, c]
                )
    pair = 0
    for k in range(slope.shape[0]):
        while pair < pairs.shape[0] and pairs[pair, 0] == k:
            for r in range(3):
                sums[pairs[pair, 1], r] += points[pair, r]
            pair += 1
        for row in range(2 * k, 2 * k + 2):
            a, b, c = slope[k, row % 2, 0], slope[k, row % 2, 1], slope[k, row % 2, 2]
            for n in range(shape + by_shape.shape[3]):
                out[row, n] = 0.0
            for n in range(3):
                out[row, place + n] = a * place_axes[0, n] + b * place_axes[1, n] + c * place_axes[2, n]
        for i in range(starts[k], starts[k + 1]):
            j = chain[i]
            x = sums[j, 0] - masses[k, j] * joints[j, 0]
            y = sums[j, 1] - masses[k, j] * joints[j, 1]
            z = sums[j, 2] - masses[k, j] * joints[j, 2]
            for r in range(3):
                if j > 0:
                    sums[_PARENTS[j], r] += sums[j, r]
                sums[j, r] = 0.0
            for row in range(2 * k, 2 * k + 2):
                a, b, c = slope[k, row % 2, 0], slope[k, row % 2, 1], slope[k, row % 2, 2]
                if a == 0.0 and b == 0.0 and c == 0.0:
                    continue
                u, v, w = y * c - z * b, z * a - x * c, x * b - y * a
                x_turn, y_turn, z_turn = _by_axes(u, v, w, axes, j)
                if j == 0:
                    out[row, root], out[row, root + 1], out[row, root + 2] = x_turn, y_turn, z_turn
                elif 3 * j <= latent:
                    m = 3 * (j - 1)
                    for n in range(width):
                        out[row, n] += (
                            x_turn * tangents[m, n]
                            + y_turn * tangents[m + 1, n]
                            + z_turn * tangents[m + 2, n]
                        )
                x_grown, y_grown, z_grown = _by_axes(a, b, c, turns, j)
                for n in range(by_shape.shape[3]):
                    out[row, shape + n] += (
                        x_grown * by_shape[k, j, 0, n]
                        + y_grown * by_shape[k, j, 1, n]
                        + z_grown * by_shape[k, j, 2, n]
                    )
