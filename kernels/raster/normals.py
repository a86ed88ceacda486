"""Vertex normals of triangle meshes."""

import numpy as np

from kinestream.kernels.array_types import AnyArray, Float32Array, Int32Array
from kinestream.kernels.raster.compiled import compiled


def vertex_normals(vertices_m: Float32Array, faces: Int32Array) -> Float32Array:
    """Unit normals (V, 3) f32 of vertices (V, 3) f32 with faces (F, 3), outwards for counter-clockwise faces.

    Each is the mean of the normals of its faces, weighted by area; a vertex without area gets zeros.
    """
    normals = np.zeros((len(vertices_m), 3), np.float32)
    _accumulate(np.ascontiguousarray(vertices_m), np.ascontiguousarray(faces), normals)
    return normals


@compiled
def _accumulate(vertices: AnyArray, faces: AnyArray, normals: AnyArray) -> None:
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ux, uy, uz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        vx, vy, vz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(normals.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            normals[i, 0], normals[i, 1], normals[i, 2] = x / length, y / length, z / length
