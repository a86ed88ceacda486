"""Joints and keypoints of one person per frame, in tens of microseconds and without any vertex.

Linear blend skinning is linear in the rest position of a vertex, and so is the keypoint regressor r.
With joint maps ``A_j = [R_j | t_j]``, skinning weights w and rest positions p, keypoint k is

    sum_v r_kv sum_j w_vj (R_j p_v + t_j)  =  sum_j (R_j P_kj + m_kj t_j),
    P_kj = sum_v r_kv w_vj p_v,    m_kj = sum_v r_kv w_vj.

So each keypoint is a few weighted points rigid to a few joints (about 70 pairs in all). ``P_kj`` is
linear in the betas and in the pose features R - I, hence collapsed once: nothing is approximated, and
the results are those of :class:`kinestream.body.model.BodyModel` up to rounding.
"""

import itertools

import numpy as np
import numpy.typing as npt

from kinestream.body.arrays import BodyArrays, keypoint_parts
from kinestream.body.skeleton import NUM_JOINTS, NUM_KEYPOINTS, PARENTS
from kinestream.kernels.array_types import Float32Array, Float64Array, Int64Array
from kinestream.kernels.caching import compiled

_PARENTS = np.array(PARENTS)


class CompiledKinematics:
    """Forward kinematics of one body; float64, CPU. Not thread-safe: one instance per thread.

    Set the shape when it changes, then pose as often as needed. Creating an instance runs the compiled
    code once, so that the first frame does not wait for the compiler (about 2 s where numba finds no
    compiled code of an earlier run in its cache).
    """

    def __init__(
        self,
        *,
        joint_template: Float64Array,
        joint_shapedirs: Float64Array,
        template: Float64Array,
        shapedirs: Float64Array,
        posedirs: Float64Array | None,
        skin_weights: Float64Array,
        keypoint_regressor: Float64Array,
    ) -> None:
        """Collapse the arrays of the M vertices on which keypoints depend; see :meth:`of`.

        Args:
            joint_template: (24, 3) rest joints, metres.
            joint_shapedirs: (24, 3, S) their change per beta.
            template: (M, 3) rest vertices, metres.
            shapedirs: (M, 3, S) their change per beta.
            posedirs: (M, 3, 207) pose correctives, or None.
            skin_weights: (M, 24).
            keypoint_regressor: (23, M).

        """
        share, keypoint, joint = keypoint_parts(keypoint_regressor, skin_weights)  # (pairs, M): r_kv w_vj
        pair_shapedirs = np.einsum("pm,mcs->pcs", share, shapedirs, optimize=True)
        self._rest_template = np.concatenate([joint_template, share @ template])  # joints, then pairs
        self._rest_shapedirs = np.concatenate([joint_shapedirs, pair_shapedirs]).reshape(
            -1, joint_shapedirs.shape[2]
        )
        self._pairs = np.stack([keypoint, joint], axis=1)
        self._pair_mass = share.sum(axis=1)
        self._starts, self._entries, self._correctives = _sparse_correctives(share, posedirs)
        # Pose features are R - I: what the I takes away does not change, and R is read as it lies in memory.
        on_diagonal = np.where(self._entries % 9 % 4 == 0, 1.0, 0.0)[:, None]
        for pair, (start, end) in enumerate(itertools.pairwise(self._starts)):
            taken = (on_diagonal[start:end] * self._correctives[start:end]).sum(0)
            self._rest_template[NUM_JOINTS + pair] -= taken
        self._turns = np.zeros((NUM_JOINTS, 3, 3))
        self._joints = np.zeros((NUM_JOINTS, 3))
        self._points = np.zeros((len(self._pairs), 3))
        self._keypoints = np.zeros((NUM_KEYPOINTS, 3))
        self._betas: Float64Array = np.full(joint_shapedirs.shape[2], np.nan)
        self.set_shape(np.zeros_like(self._betas))
        self.pose(np.tile(np.eye(3), (NUM_JOINTS, 1, 1)), np.zeros(3))

    @classmethod
    def of(cls, body: BodyArrays) -> "CompiledKinematics":
        """Collapse a body."""
        support = body.keypoint_support
        joint_template, joint_shapedirs = body.rest_joints
        return cls(
            joint_template=joint_template,
            joint_shapedirs=joint_shapedirs,
            template=_double(body.v_template[support]),
            shapedirs=_double(body.shapedirs[support]),
            posedirs=None if body.posedirs is None else _double(body.posedirs[support]),
            skin_weights=_double(body.skin_weights[support]),
            keypoint_regressor=_double(body.keypoint_regressor[:, support]),
        )

    def set_shape(self, betas: npt.ArrayLike) -> None:
        """Set the shape to ``betas`` (n,) standard deviations, n <= S; missing components are 0.

        Setting the shape that is already set costs next to nothing. Raises ``ValueError``.
        """
        given = np.asarray(betas, np.float64)
        limit = self._betas.shape[0]
        if given.ndim != 1 or given.shape[0] > limit:
            raise ValueError(f"found betas of shape {given.shape}, expected (n,) with n <= {limit}")
        if given.shape[0] < limit:
            given = np.concatenate([given, np.zeros(limit - given.shape[0])])
        if not (given == self._betas).all():
            self._betas = given.copy()
            rest = self._rest_template + (self._rest_shapedirs @ given).reshape(-1, 3)
            self._rest_joints, self._rest_pairs = rest[:NUM_JOINTS], rest[NUM_JOINTS:]

    def pose(
        self, rotations: npt.ArrayLike, translation_m: npt.ArrayLike
    ) -> tuple[Float64Array, Float64Array]:
        """Return joints (24, 3) and keypoints (23, 3) in metres for the shape that is set.

        Args:
            rotations: (24, 3, 3) relative to the parent joint; the first is the root's.
            translation_m: (3,) position of the pelvis joint.

        Raises:
            ValueError: a shape does not fit.

        """
        local = np.ascontiguousarray(rotations, np.float64)
        offset = np.ascontiguousarray(translation_m, np.float64)
        if local.shape != (NUM_JOINTS, 3, 3) or offset.shape != (3,):
            raise ValueError(
                f"found rotations {local.shape} and translation_m {offset.shape}, "
                f"expected ({NUM_JOINTS}, 3, 3) and (3,)"
            )
        self._pose(local)
        return self._joints + offset, self._keypoints + offset

    def _pose(self, local: Float64Array) -> None:
        """Fill the turns of the joints, and what depends on them relative to the pelvis."""
        _pose(
            local, self._rest_joints, self._rest_pairs, self._pairs, self._pair_mass, self._starts,
            self._entries, self._correctives, self._turns, self._joints, self._points, self._keypoints,
        )  # fmt: skip


def _double(values: Float32Array) -> Float64Array:
    return values.astype(np.float64)


def _sparse_correctives(
    share: Float64Array, posedirs: Float64Array | None
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Collapse pose correctives to the pairs, keeping per pair the features that move it at all.

    Returns row starts (pairs + 1,), and per feature its place among the elements of all 24 rotations (n,) and
    its displacement (n, 3).
    """
    pairs = share.shape[0]
    if posedirs is None:
        return np.zeros(pairs + 1, np.int64), np.zeros(0, np.int64), np.zeros((0, 3))
    dense = np.einsum("pm,mcf->pfc", share, posedirs, optimize=True)
    pair, feature = np.nonzero(dense.any(axis=2))
    starts = np.searchsorted(pair, np.arange(pairs + 1))
    return starts, feature + 9, np.ascontiguousarray(dense[pair, feature])


@compiled()
def _pose(
    local: Float64Array, rest_joints: Float64Array, rest_pairs: Float64Array, pairs: Int64Array,
    pair_mass: Float64Array, starts: Int64Array, entries: Int64Array, correctives: Float64Array,
    turns: Float64Array, joints: Float64Array, points: Float64Array, keypoints: Float64Array,
) -> None:  # fmt: skip
    """Fill ``turns`` (24, 3, 3), and ``joints``, ``points`` (of the pairs), ``keypoints`` from the pelvis.

    One pass down the tree, then one over the pairs. Element by element: that compiles fastest.
    """
    for j in range(NUM_JOINTS):
        parent = _PARENTS[j]
        for r in range(3):
            if parent < 0:
                joints[j, r] = 0.0
                for c in range(3):
                    turns[j, r, c] = local[j, r, c]
                continue
            joints[j, r] = joints[parent, r]
            for c in range(3):
                bone = rest_joints[j, c] - rest_joints[parent, c]
                joints[j, r] += turns[parent, r, c] * bone
                turns[j, r, c] = (
                    turns[parent, r, 0] * local[j, 0, c]
                    + turns[parent, r, 1] * local[j, 1, c]
                    + turns[parent, r, 2] * local[j, 2, c]
                )
    elements = local.reshape(-1)
    for k in range(NUM_KEYPOINTS):
        for r in range(3):
            keypoints[k, r] = 0.0
    for i in range(pairs.shape[0]):
        k, j, mass = pairs[i, 0], pairs[i, 1], pair_mass[i]
        # Relative to the joint, so that the map of the joint is a turn and the joint's own position.
        x = rest_pairs[i, 0] - mass * rest_joints[j, 0]
        y = rest_pairs[i, 1] - mass * rest_joints[j, 1]
        z = rest_pairs[i, 2] - mass * rest_joints[j, 2]
        for n in range(starts[i], starts[i + 1]):
            value = elements[entries[n]]
            x += value * correctives[n, 0]
            y += value * correctives[n, 1]
            z += value * correctives[n, 2]
        for r in range(3):
            point = turns[j, r, 0] * x + turns[j, r, 1] * y + turns[j, r, 2] * z + mass * joints[j, r]
            points[i, r] = point
            keypoints[k, r] += point
