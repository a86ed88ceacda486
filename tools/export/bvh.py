"""Biovision hierarchy (.bvh): skeleton and joint angles, for Blender, MotionBuilder, game engines."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from kinestream.body.skeleton import JOINT_NAMES, PARENTS
from kinestream.tools.export.motion import Y_UP, Floats, Motion

CM_PER_M = 100.0
ROTATION_ORDER = "Zrotation Xrotation Yrotation"
# Where the last joint of a chain points in the T-pose: toes forward, head up, hands outwards. Metres.
_ENDS = {
    "left_foot": (0, 0, 0.06),
    "right_foot": (0, 0, 0.06),
    "head": (0, 0.15, 0),
    "left_hand": (0.1, 0, 0),
    "right_hand": (-0.1, 0, 0),
}


def write_bvh(path: Path, motion: Motion, rest_joints_m: Floats) -> None:
    """Write one take. Centimetres; x right, y up, z towards the viewer; angles in degrees, Z X Y.

    ``rest_joints_m`` (24, 3) is the T-pose. Raises ``OSError``.
    """
    rotations = motion.rotations.copy()
    rotations[:, 0] = Y_UP @ rotations[:, 0]
    angles_deg = np.degrees(steady(euler_zxy(rotations)))
    places_cm = CM_PER_M * motion.pelvis_m @ Y_UP.T
    angles_deg = angles_deg[:, list(_depth_first(0))]
    rows = np.concatenate([places_cm, angles_deg.reshape(len(angles_deg), -1)], axis=1)
    lines = ["HIERARCHY", *_joint(0, CM_PER_M * rest_joints_m, "")]
    lines += ["MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / motion.fps:.9f}"]
    lines += [" ".join(f"{value:.5f}" for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def euler_zxy(rotations: Floats) -> Floats:
    """Angles (..., 3) in radians with R = Rz(a) Rx(b) Ry(c), of matrices (..., 3, 3).

    Where the middle angle is a quarter turn, the other two turn about one axis; the last is then 0.
    """
    entry = rotations
    b = np.arcsin(np.clip(entry[..., 2, 1], -1, 1))
    locked = np.abs(entry[..., 2, 1]) > 1 - 1e-9
    a = np.where(
        locked,
        np.arctan2(entry[..., 1, 0], entry[..., 0, 0]),
        np.arctan2(-entry[..., 0, 1], entry[..., 1, 1]),
    )
    c = np.where(locked, 0.0, np.arctan2(-entry[..., 2, 0], entry[..., 2, 2]))
    return np.stack([a, b, c], axis=-1)


def steady(angles: Floats) -> Floats:
    """The same turns (T, ..., 3), each written as near as can be to the one before.

    Every turn has two sets of angles, (a, b, c) and (a + pi, pi - b, c + pi), and any number of full turns
    more. Where a hip is bent past a quarter turn the first would flip, and what is drawn between two frames
    with it.
    """
    result = angles.copy()
    for before, now in pairwise(result):
        both = np.stack([now, now * [1, -1, 1] + math.pi])
        both += 2 * math.pi * np.round((before - both) / (2 * math.pi))
        nearer = np.abs(both - before).sum(axis=-1).argmin(axis=0)
        now[...] = np.where(nearer[..., None] == 0, both[0], both[1])
    return result


def _joint(index: int, rest_cm: Floats, indent: str) -> Iterator[str]:
    """The lines of a joint and of all below it."""
    name, parent = JOINT_NAMES[index], PARENTS[index]
    offset = rest_cm[index] - rest_cm[parent] if parent >= 0 else np.zeros(3)
    channels = "6 Xposition Yposition Zposition " if parent < 0 else "3 "
    yield f"{indent}{'JOINT' if parent >= 0 else 'ROOT'} {name}"
    yield indent + "{"
    yield f"{indent}\tOFFSET {_numbers(offset)}"
    yield f"{indent}\tCHANNELS {channels}{ROTATION_ORDER}"
    for child in _children(index):
        yield from _joint(child, rest_cm, indent + "\t")
    if name in _ENDS:
        yield f"{indent}\tEnd Site"
        yield indent + "\t{"
        yield f"{indent}\t\tOFFSET {_numbers(CM_PER_M * np.array(_ENDS[name]))}"
        yield indent + "\t}"
    yield indent + "}"


def _depth_first(index: int) -> Iterator[int]:
    """Joints in the order of the file, in which their channels follow as well."""
    yield index
    for child in _children(index):
        yield from _depth_first(child)


def _children(index: int) -> list[int]:
    return [joint for joint, parent in enumerate(PARENTS) if parent == index]


def _numbers(values: Floats) -> str:
    return " ".join(f"{value:.5f}" for value in values)
