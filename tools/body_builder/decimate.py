"""Symmetric mesh decimation that keeps input vertices, left-right pairs and texture seams.

Half-edge collapse by the quadric error of Garland and Heckbert (1997): a collapse moves vertex a onto its
neighbour b, so that every surviving vertex is an input vertex. The mirror image of each collapse follows at
once. A vertex on a texture seam or border slides along it only.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinestream.tools.body_builder.arrays import FloatArray, IntArray

WEIGHT_COST = 2e-4
"""Price of merging vertices whose skinning weights differ, per squared edge length."""
BORDER_PRICE, SEAM_PRICE = 10.0, 1.0
LENGTH_PRICE = 1e-9
MIN_COSINE = 0.25
"""A collapse may turn no triangle by more than the angle with this cosine."""
MIN_ROUNDNESS = 0.08
"""Least ratio of twice the area to the squared longest edge of a triangle made by a collapse."""


@dataclass(frozen=True)
class DecimatedMesh:
    """Surviving vertices."""

    kept: IntArray  # (V,) ids of the input vertices that survive, ascending
    faces: IntArray  # (F, 3) triangles as indices into `kept`
    uv_faces: IntArray  # (F, 3) triangles as indices into the input texture coordinates


def decimate(
    points_m: FloatArray,
    faces: IntArray,
    *,
    uv: FloatArray,
    uv_faces: IntArray,
    partner: IntArray,
    weights: FloatArray,
    target: int,
    on_count: Callable[[int], None] | None = None,
) -> DecimatedMesh:
    """Collapse edges of the mesh (V, 3), (F, 3) until `target` vertices are left or nothing may collapse.

    Args:
        points_m: (V, 3) vertices; those without a triangle are ignored.
        faces: (F, 3) triangles.
        uv: (T, 2) texture coordinates.
        uv_faces: (F, 3) indices into `uv`.
        partner: (V,) mirror vertex of each vertex.
        weights: (V, J) skinning weights; vertices that move alike are merged first.
        target: vertices to keep.
        on_count: called now and then with the number of vertices that are left.

    Raises ``ValueError``: the triangles of surface and texture differ in number.
    """
    if faces.shape != uv_faces.shape:
        raise ValueError(f"faces {faces.shape} and uv_faces {uv_faces.shape} must have the same shape")
    return _Collapser(points_m, faces, uv, uv_faces, partner, weights).run(target, on_count)


class _Collapser:
    """Working state: triangles, their texture corners, quadrics and the queue of collapses."""

    def __init__(
        self,
        points: FloatArray,
        faces: IntArray,
        uv: FloatArray,
        uv_faces: IntArray,
        partner: IntArray,
        weights: FloatArray,
    ) -> None:
        self.points, self.uv, self.partner, self.weights = points, uv, partner, weights
        self.faces = [[int(v) for v in triangle] for triangle in faces]
        self.corners = [[int(t) for t in triangle] for triangle in uv_faces]
        self.face_alive = [True] * len(faces)
        self.alive = np.zeros(len(points), bool)
        self.alive[np.unique(faces)] = True
        self.incident: list[set[int]] = [set() for _ in points]
        self.version = np.zeros(len(points), int)
        self.quadrics = np.zeros((len(points), 4, 4))
        self._add_surface_quadrics()
        self.queue: list[tuple[float, int, int, int, int]] = []
        for vertex in np.flatnonzero(self.alive):
            self._push_from(int(vertex))

    def run(self, target: int, on_count: Callable[[int], None] | None) -> DecimatedMesh:
        count = int(self.alive.sum())
        while self.queue and count > target:
            _, a, b, version_a, version_b = heapq.heappop(self.queue)
            stale = (self.version[a], self.version[b]) != (version_a, version_b)
            if stale or not (self.alive[a] and self.alive[b]) or not self._allowed(a, b):
                continue
            self._collapse(a, b)
            count -= 1
            mirror_a, mirror_b = int(self.partner[a]), int(self.partner[b])
            alive = mirror_a not in (a, b) and self.alive[mirror_a] and self.alive[mirror_b]
            if alive and self._allowed(mirror_a, mirror_b):
                self._collapse(mirror_a, mirror_b)
                count -= 1
            if on_count is not None:
                on_count(count)
        faces = np.array([t for t, alive in zip(self.faces, self.face_alive, strict=True) if alive])
        corners = np.array([t for t, alive in zip(self.corners, self.face_alive, strict=True) if alive])
        kept = np.unique(faces)
        return DecimatedMesh(kept, np.searchsorted(kept, faces), corners)

    # ------------------------------------------------------------------ cost

    def _add_surface_quadrics(self) -> None:
        owners_of_edge: dict[tuple[int, int], list[int]] = {}
        for face, triangle in enumerate(self.faces):
            p = self.points[triangle]
            normal = np.cross(p[1] - p[0], p[2] - p[0])
            area = np.linalg.norm(normal)
            if area > 0:
                self._add_plane(triangle, normal / area, p[0], float(area / 2))
            for k in range(3):
                a, b = triangle[k], triangle[(k + 1) % 3]
                self.incident[a].add(face)
                owners_of_edge.setdefault((min(a, b), max(a, b)), []).append(face)
        for (a, b), owners in owners_of_edge.items():
            if len(owners) == 1:
                self._protect_edge(a, b, owners[0], BORDER_PRICE)
            elif any(self._corner(owners[0], v) != self._corner(owners[1], v) for v in (a, b)):
                self._protect_edge(a, b, owners[0], SEAM_PRICE)

    def _add_plane(self, vertices: list[int], normal: FloatArray, point: FloatArray, weight: float) -> None:
        plane = np.append(normal, -normal @ point)
        for v in vertices:
            self.quadrics[v] += weight * np.outer(plane, plane)

    def _protect_edge(self, a: int, b: int, face: int, price: float) -> None:
        """Add the plane through the edge that stands upright on the surface."""
        p = self.points[self.faces[face]]
        edge = self.points[b] - self.points[a]
        normal = np.cross(edge, np.cross(p[1] - p[0], p[2] - p[0]))
        length = np.linalg.norm(normal)
        if length > 0:
            self._add_plane([a, b], normal / length, self.points[a], price * float(edge @ edge))

    def _cost(self, a: int, b: int) -> float:
        x = np.append(self.points[b], 1.0)
        gap = np.sum((self.points[a] - self.points[b]) ** 2)
        cost = x @ (self.quadrics[a] + self.quadrics[b]) @ x + LENGTH_PRICE * gap
        return float(cost + WEIGHT_COST * gap * np.sum((self.weights[a] - self.weights[b]) ** 2))

    def _push(self, a: int, b: int) -> None:
        heapq.heappush(self.queue, (self._cost(a, b), a, b, int(self.version[a]), int(self.version[b])))

    def _push_from(self, a: int) -> None:
        for b in self._neighbours(a):
            self._push(a, b)

    # -------------------------------------------------------------- topology

    def _neighbours(self, a: int) -> set[int]:
        return {v for face in self.incident[a] for v in self.faces[face]} - {a}

    def _corner(self, face: int, vertex: int) -> int:
        return self.corners[face][self.faces[face].index(vertex)]

    def _corner_map(self, a: int, b: int) -> dict[int, int]:
        """Texture corner of b that replaces each texture corner of a along their common edge."""
        shared = (face for face in self.incident[a] if b in self.faces[face])
        return {self._corner(face, a): self._corner(face, b) for face in shared}

    def _allowed(self, a: int, b: int) -> bool:
        """Whether moving a onto b keeps the surface a manifold, its seams, and every triangle well-shaped."""
        around = self._neighbours(a)
        if b not in around:
            return False
        shared = [face for face in self.incident[a] if b in self.faces[face]]
        if len(around & self._neighbours(b)) != len(shared):
            return False
        on_border = any(sum(v in self.faces[face] for face in self.incident[a]) == 1 for v in around)
        if on_border and len(shared) != 1:
            return False
        corner_map = self._corner_map(a, b)
        rest = (face for face in self.incident[a] if b not in self.faces[face])
        return all(self._corner(f, a) in corner_map and self._stays_sound(f, a, b, corner_map) for f in rest)

    def _stays_sound(self, face: int, a: int, b: int, corner_map: dict[int, int]) -> bool:
        old = self.points[self.faces[face]]
        new = self.points[[b if v == a else v for v in self.faces[face]]]
        old_normal, new_normal = (np.cross(p[1] - p[0], p[2] - p[0]) for p in (old, new))
        old_area, new_area = np.linalg.norm(old_normal), np.linalg.norm(new_normal)
        if new_area < 1e-12 or old_normal @ new_normal < MIN_COSINE * old_area * new_area:
            return False
        longest = max(np.sum((new[k] - new[k - 1]) ** 2) for k in range(3))
        if new_area / longest < MIN_ROUNDNESS:
            return False
        corners = zip(self.faces[face], self.corners[face], strict=True)
        uv_new = self.uv[[corner_map[corner] if v == a else corner for v, corner in corners]]
        return _uv_area(self.uv[self.corners[face]]) * _uv_area(uv_new) >= 0

    def _collapse(self, a: int, b: int) -> None:
        corner_map = self._corner_map(a, b)
        for face in list(self.incident[a]):
            if b in self.faces[face]:
                self.face_alive[face] = False
                for v in self.faces[face]:
                    self.incident[v].discard(face)
            else:
                k = self.faces[face].index(a)
                self.faces[face][k] = b
                self.corners[face][k] = corner_map[self.corners[face][k]]
                self.incident[b].add(face)
        self.incident[a].clear()
        self.alive[a] = False
        self.quadrics[b] += self.quadrics[a]
        self.version[[a, b]] += 1
        self._push_from(b)
        for v in self._neighbours(b):
            self._push(v, b)


def _uv_area(corners: FloatArray) -> float:
    """Twice the signed area of a triangle (3, 2) of the texture."""
    (ax, ay), (bx, by) = corners[1] - corners[0], corners[2] - corners[0]
    return float(ax * by - ay * bx)
