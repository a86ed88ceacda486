"""A soft body with rigid bones: the shape that flesh takes when the skeleton bends.

The inside of the surface is filled with nodes and tetrahedra. Edges keep their rest vectors up to a local
rotation (as-rigid-as-possible energy, Sorkine and Alexa, 2007, on a volumetric graph as by Zhou et al., 2005)
and tetrahedra keep their volume (a constraint of projective dynamics, Bouaziz et al., 2014). Limb bones move
rigidly; surface that follows one joint alone is held where skinning puts it. The result keeps volume and
thickness where linear blend skinning pinches.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay, cKDTree

from kinestream.kernels.raster.normals import vertex_normals
from kinestream.tools.body_builder.arrays import BoolArray, FloatArray, IntArray, smooth_step
from kinestream.tools.body_builder.skeleton import JOINT_ID

LIMB_BONES = tuple(
    (JOINT_ID[f"{side}_{upper}"], JOINT_ID[f"{side}_{lower}"])
    for side in ("left", "right")
    for upper, lower in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
"""Joint pairs whose connecting bone is stiff."""

LATTICE_SPACING_M, BONE_SPACING_M = 0.028, 0.02
BONE_PULL, RIGID_PULL, BASE_PULL = 20.0, 2.0, 0.02
"""Strength with which bone samples, rigid surface and all else are held at their skinned places."""
BONY_JOINTS = tuple(
    JOINT_ID[f"{side}_{name}"] for side in ("left", "right") for name in ("knee", "ankle", "elbow", "wrist")
)
"""Joints with little flesh around them: keeping all volume there would swell bent knees and elbows."""
BONY_REACH_M = (0.08, 0.2)
"""Distances from a bony joint between which flesh takes over."""
FLESH_STIFFNESS, BONY_STIFFNESS = 10.0, 1.0
"""Price of changing the volume of a tetrahedron, against one for changing the shape of an edge."""
SOUND_TETRAHEDRON = 0.008
"""Least ratio of volume to cubed longest edge at the first corner; flatter ones say nothing about volume."""
TIE_BREAK_M = 5e-4
"""Nodes are moved by up to this much while tetrahedra are sought."""
NEAREST_VERTICES = 12
"""Surface vertices whose weights a node inside the body averages."""
RIGID_WEIGHT = (0.85, 0.985)
"""Range of the largest skinning weight over which a node goes from soft to rigid."""


class ElasticBody:
    """Soft body around a surface (V, 3), (F, 3) with skinning `weights` (V, J) and rest joints (J, 3)."""

    def __init__(
        self,
        points_m: FloatArray,
        faces: IntArray,
        weights: FloatArray,
        joints_m: FloatArray,
        bones: Sequence[tuple[int, int]] = LIMB_BONES,
        bony_joints: Sequence[int] = BONY_JOINTS,
    ) -> None:
        self._surface_count = len(points_m)
        inside = _InsideTest(points_m, faces)
        bone_points, bone_joint = _bone_samples(joints_m, bones)
        lattice = _lattice(points_m, inside, bone_points)
        self.nodes_m = np.concatenate([points_m, lattice, bone_points])
        bone_weights = np.eye(weights.shape[1])[bone_joint]
        self._weights = np.concatenate([weights, _nearby_mean(lattice, points_m, weights), bone_weights])

        tetrahedra = _tetrahedra(self.nodes_m, inside)
        springs = self._add_springs(_edges(tetrahedra, faces))
        volumes = self._add_volumes(tetrahedra, joints_m[list(bony_joints)])
        self._hold(springs + volumes, is_bone=np.arange(len(self.nodes_m)) >= len(points_m) + len(lattice))

    def _add_springs(self, edges: IntArray) -> sp.csr_matrix:
        """Keep the shape of edges (E, 2); returns the stiffness matrix (N, N)."""
        count = len(self.nodes_m)
        length = np.linalg.norm(self.nodes_m[edges[:, 0]] - self.nodes_m[edges[:, 1]], axis=1)
        self._stiffness = np.tile(length.mean() / length, 2)
        self._start, self._end = np.concatenate([edges, edges[:, ::-1]]).T
        self._rest = self.nodes_m[self._start] - self.nodes_m[self._end]
        one = np.ones(len(self._start))
        self._gather = sp.csr_matrix((one, (self._start, np.arange(len(one)))), (count, len(one)))
        self._degree = self._gather @ self._stiffness
        coupling = sp.csr_matrix((self._stiffness, (self._start, self._end)), (count, count))
        return sp.diags(self._degree) - coupling

    def _add_volumes(self, tetrahedra: IntArray, bony_joints_m: FloatArray) -> sp.csr_matrix:
        """Keep the volume of tetrahedra (T, 4), less so around bony joints; returns the stiffness (N, N)."""
        tetrahedra, share = _sound(self.nodes_m, tetrahedra)
        self._gradient = _deformation_gradient(self.nodes_m, tetrahedra)
        to_bony_joint = cKDTree(bony_joints_m).query(self.nodes_m[tetrahedra].mean(1))[0]
        firmness = np.interp(to_bony_joint, BONY_REACH_M, (BONY_STIFFNESS, FLESH_STIFFNESS))
        price = np.repeat(firmness * LATTICE_SPACING_M**2 * share, 3)
        self._volume_force = sp.csr_matrix(self._gradient.T @ sp.diags(price))
        return self._volume_force @ self._gradient

    def _hold(self, stiffness: sp.csr_matrix, *, is_bone: BoolArray) -> None:
        """Tie the nodes to where skinning puts them, rigid surface for good, and factorise the rest."""
        rigidity = smooth_step(self._weights.max(1), *RIGID_WEIGHT)
        self._pull = np.where(is_bone, BONE_PULL, BASE_PULL + RIGID_PULL * rigidity) * self._degree
        held = (rigidity >= 1) & ~is_bone
        self._held, self._free = np.flatnonzero(held), np.flatnonzero(~held)
        rows = sp.csr_matrix(stiffness + sp.diags(self._pull))[self._free]
        self._to_held = rows[:, self._held]
        self._solver = splu(
            rows[:, self._free].tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def relax(self, rotations: FloatArray, shift_m: FloatArray, *, iterations: int = 10) -> FloatArray:
        """Surface (V, 3) at rest around bones moved by the rigid maps (J, 3, 3), (J, 3).

        Each iteration finds the nearest undeformed state of every edge star and tetrahedron, then the nodes
        that agree best with all of them.
        """
        blend = np.einsum("vk,kij->vij", self._weights, rotations)
        skinned = np.einsum("vij,vj->vi", blend, self.nodes_m) + self._weights @ shift_m
        points = skinned.copy()
        for _ in range(iterations):
            now = points[self._start] - points[self._end]
            moment = self._stiffness[:, None, None] * now[:, :, None] * self._rest[:, None, :]
            turn = nearest_rotations((self._gather @ moment.reshape(-1, 9)).reshape(-1, 3, 3))
            wanted = np.einsum("eij,ej->ei", turn[self._start] + turn[self._end], self._rest)
            force = self._gather @ (0.5 * self._stiffness[:, None] * wanted) + self._pull[:, None] * skinned
            gradient = (self._gradient @ points).reshape(-1, 3, 3)
            force += self._volume_force @ nearest_unit_determinant(gradient).reshape(-1, 3)
            points[self._free] = self._solver.solve(force[self._free] - self._to_held @ points[self._held])
        return points[: self._surface_count]


def nearest_rotations(matrices: FloatArray) -> FloatArray:
    """Rotations (N, 3, 3) nearest to the matrices, reflections excluded."""
    u, _, vt = np.linalg.svd(matrices)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt


def nearest_unit_determinant(matrices: FloatArray, *, steps: int = 3) -> FloatArray:
    """Matrices (N, 3, 3) moved along the gradient of their determinant until it is one (Newton's method)."""
    for _ in range(steps):
        a, b, c = (matrices[:, k] for k in range(3))
        cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], 1)
        determinant = np.einsum("ni,ni->n", cofactors[:, 0], a)
        slope = np.maximum((cofactors**2).sum((1, 2)), 0.3)  # bounded steps near singular matrices
        matrices = matrices + ((1 - determinant) / slope)[:, None, None] * cofactors
    return matrices


class _InsideTest:
    """Whether points lie inside the surface, judged by the normals of the nearest vertices."""

    NEAREST, DEPTH_COSINE, AGREEMENT = 5, 0.2, 0.79

    def __init__(self, points_m: FloatArray, faces: IntArray) -> None:
        self._points, self._tree = points_m, cKDTree(points_m)
        self._normals = vertex_normals(points_m.astype(np.float32), faces.astype(np.int32))

    def __call__(self, queries_m: FloatArray) -> BoolArray:
        distance, near = self._tree.query(queries_m, k=self.NEAREST)
        offset = queries_m[:, None] - self._points[near]
        height = np.einsum("qkd,qkd->qk", offset, self._normals[near]) / np.maximum(distance, 1e-9)
        return (height < -self.DEPTH_COSINE).mean(1) > self.AGREEMENT


def _bone_samples(joints_m: FloatArray, bones: Sequence[tuple[int, int]]) -> tuple[FloatArray, IntArray]:
    """Points (N, 3) along the shafts of the bones, and the joint (N,) that moves each."""
    points, owner = [], []
    for upper, lower in bones:
        count = max(int(np.linalg.norm(joints_m[lower] - joints_m[upper]) / BONE_SPACING_M), 2)
        along = np.linspace(0.1, 0.9, count)[:, None]
        points.append(joints_m[upper] + along * (joints_m[lower] - joints_m[upper]))
        owner.append(np.full(count, upper))
    return np.concatenate(points), np.concatenate(owner)


def _lattice(points_m: FloatArray, inside: _InsideTest, bone_points_m: FloatArray) -> FloatArray:
    """Scattered grid points (N, 3) inside the surface, clear of the surface and of the bones."""
    low, high = points_m.min(0), points_m.max(0)
    axes = [np.arange(low[k], high[k], LATTICE_SPACING_M) for k in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    grid = _scattered(grid, 0.25 * LATTICE_SPACING_M)
    grid = grid[inside(grid)]
    clear_of_surface = cKDTree(points_m).query(grid)[0] > 0.35 * LATTICE_SPACING_M
    clear_of_bones = cKDTree(bone_points_m).query(grid)[0] > 0.5 * LATTICE_SPACING_M
    return grid[clear_of_surface & clear_of_bones]


def _scattered(points_m: FloatArray, reach_m: float) -> FloatArray:
    """Points (N, 3) moved at random: in grids and mirror images, rounding would decide between tetrahedra."""
    offset: FloatArray = np.random.default_rng(0).uniform(-reach_m, reach_m, points_m.shape)
    return points_m + offset


def _nearby_mean(queries_m: FloatArray, points_m: FloatArray, values: FloatArray) -> FloatArray:
    """Values (V, J) of the surface, averaged around each query point by inverse squared distance."""
    distance, near = cKDTree(points_m).query(queries_m, k=NEAREST_VERTICES)
    share = 1 / (distance + 0.005) ** 2
    share /= share.sum(1, keepdims=True)
    return np.einsum("qk,qkj->qj", share, values[near])


def _tetrahedra(nodes_m: FloatArray, inside: _InsideTest) -> IntArray:
    """Delaunay tetrahedra (T, 4) of the slightly scattered nodes whose centre lies inside."""
    nodes_m = _scattered(nodes_m, TIE_BREAK_M)
    tetrahedra = Delaunay(nodes_m).simplices.astype(np.int64)
    return tetrahedra[inside(nodes_m[tetrahedra].mean(1))]


def _edges(tetrahedra: IntArray, faces: IntArray) -> IntArray:
    """Edges (E, 2) of tetrahedra and surface."""
    pairs = [tetrahedra[:, (a, b)] for a in range(4) for b in range(a)]
    pairs += [faces[:, (0, 1)], faces[:, (1, 2)], faces[:, (2, 0)]]
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _sound(nodes_m: FloatArray, tetrahedra: IntArray) -> tuple[IntArray, FloatArray]:
    """The tetrahedra (T, 4) that are not flat, and their volumes (T,) relative to the mean."""
    sides = nodes_m[tetrahedra[:, 1:]] - nodes_m[tetrahedra[:, :1]]
    volume = np.abs(np.linalg.det(sides)) / 6
    sound = volume / np.linalg.norm(sides, axis=2).max(1) ** 3 > SOUND_TETRAHEDRON
    return tetrahedra[sound], volume[sound] / volume[sound].mean()


def _deformation_gradient(nodes_m: FloatArray, tetrahedra: IntArray) -> sp.csr_matrix:
    """Operator (3T, N) from nodes to the transposed deformation gradients of the tetrahedra."""
    sides = nodes_m[tetrahedra[:, 1:]] - nodes_m[tetrahedra[:, :1]]
    slopes = np.linalg.inv(sides)
    slopes = np.concatenate([-slopes.sum(2, keepdims=True), slopes], 2)  # (T, 3 axes, 4 corners)
    row = np.broadcast_to(np.arange(3 * len(tetrahedra)).reshape(-1, 3, 1), slopes.shape)
    column = np.broadcast_to(tetrahedra[:, None, :], slopes.shape)
    return sp.csr_matrix((slopes.ravel(), (row.ravel(), column.ravel())), (3 * len(tetrahedra), len(nodes_m)))
