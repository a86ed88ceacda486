"""Measures and operators of triangle meshes: neighbourhoods, areas, volume, mirror partners."""

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from kinestream.tools.body_builder.arrays import FloatArray, IntArray


def directed_edges(faces: IntArray) -> IntArray:
    """Both directions of every edge of the triangles (F, 3), each once: (E, 2)."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)


def neighbour_average(faces: IntArray, vertex_count: int) -> sp.csr_matrix:
    """Sparse row-stochastic matrix (V, V) that averages the one-ring of each vertex."""
    edges = directed_edges(faces)
    matrix = sp.coo_matrix((np.ones(len(edges)), edges.T), (vertex_count, vertex_count)).tocsr()
    degree = np.maximum(np.asarray(matrix.sum(1)).ravel(), 1)
    return sp.diags(1 / degree) @ matrix


def vertex_areas(points: FloatArray, faces: IntArray) -> FloatArray:
    """Surface area (V,) that belongs to each vertex: a third of its triangles."""
    first, second = points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]
    area = np.linalg.norm(np.cross(first, second), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), len(points)).astype(np.float64)


def volumes(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """Signed volume (N,) of each mesh (N, V, 3); positive when the triangles face outwards."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    return np.einsum("nfi,nfi->n", np.cross(a, b), c) / 6


def mirror_partners(points: FloatArray) -> IntArray:
    """For each vertex (V, 3) the vertex nearest to its mirror image across the plane x = 0."""
    return cKDTree(points).query(points * [-1, 1, 1])[1]
