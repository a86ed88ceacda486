"""Posing of characters: the joint chain, and compiled: sparse pose correctives, linear blend skinning."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import NUM_JOINTS, PARENTS
from kinestream.kernels.raster.compiled import compiled
from kinestream.trainer.scenes.library import Correctives

_Array = npt.NDArray[Any]


def joint_chain(
    rotations: _Array, rest_joints_m: _Array, translation_m: _Array
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Global rotations (24, 3, 3), joints (24, 3) and skinning shifts (24, 3) of local rotations.

    The pelvis goes to `translation_m`; a rest point x follows joint j to rotation[j] @ x + shift[j].
    """
    world, rest = np.array(rotations, np.float64), np.asarray(rest_joints_m, np.float64)
    joints = np.empty((NUM_JOINTS, 3))
    joints[0] = translation_m
    for joint, parent in enumerate(PARENTS[1:], 1):
        joints[joint] = joints[parent] + world[parent] @ (rest[joint] - rest[parent])
        world[joint] = world[parent] @ world[joint]
    return world, joints, joints - np.einsum("kij,kj->ki", world, rest)


def add_correctives(
    points: npt.NDArray[np.float32], correctives: Correctives, rotations: _Array, body_vertices: int,
    bind_index: _Array, bind_weight: _Array,
) -> None:  # fmt: skip
    """Add the pose correctives to rest points (V, 3) in place: the body first, then what is bound to it."""
    offset = np.zeros((body_vertices, 3), np.float32)
    feature = (np.asarray(rotations)[1:] - np.eye(3)).reshape(-1, 9).astype(np.float32)
    vertex, joint, pairs = correctives.vertex, correctives.joint, correctives.offset
    _correct(points, vertex, joint, pairs, feature, offset, bind_index, bind_weight)


def skin(points: _Array, joint_index: _Array, joint_weight: _Array, world: _Array, shift: _Array) -> _Array:
    """Points (V, 3) f32 moved by their joints (V, 4) with weights (V, 4)."""
    out = np.empty_like(points)
    _skin(points, joint_index, joint_weight, world.astype(np.float32), shift.astype(np.float32), out)
    return out


@compiled
def _correct(
    points: _Array, vertex: _Array, joint: _Array, pairs: _Array, feature: _Array, offset: _Array,
    bind_index: _Array, bind_weight: _Array,
) -> None:  # fmt: skip
    for n in range(vertex.shape[0]):
        v, k = vertex[n], joint[n]
        for i in range(3):
            total = np.float32(0.0)
            for j in range(9):
                total += pairs[n, i, j] * feature[k, j]
            offset[v, i] += total
    count = offset.shape[0]
    for v in range(count):
        for i in range(3):
            points[v, i] += offset[v, i]
    for v in range(bind_index.shape[0]):
        for c in range(3):
            w = bind_weight[v, c]
            if w != 0.0:
                for i in range(3):
                    points[count + v, i] += w * offset[bind_index[v, c], i]


@compiled
def _skin(points: _Array, index: _Array, weight: _Array, world: _Array, shift: _Array, out: _Array) -> None:
    for v in range(points.shape[0]):
        x, y, z = points[v, 0], points[v, 1], points[v, 2]
        a = b = c = np.float32(0.0)
        for k in range(index.shape[1]):
            w = weight[v, k]
            if w != 0.0:
                j = index[v, k]
                a += w * (world[j, 0, 0] * x + world[j, 0, 1] * y + world[j, 0, 2] * z + shift[j, 0])
                b += w * (world[j, 1, 0] * x + world[j, 1, 1] * y + world[j, 1, 2] * z + shift[j, 1])
                c += w * (world[j, 2, 0] * x + world[j, 2, 1] * y + world[j, 2, 2] * z + shift[j, 2])
        out[v, 0], out[v, 1], out[v, 2] = a, b, c
