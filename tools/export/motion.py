"""From tracks as they were seen to what animation formats hold: one body, one frame rate, no gaps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_FLOW_JOINTS, NUM_JOINTS
from kinestream.geometry.level import level_from_camera
from kinestream.geometry.rotation import matrix_from_quat, quat_from_matrix, slerp
from kinestream.tools.export.rates import frame_numbers
from kinestream.tools.export.tracks import Track
from kinestream.tracking.ground import GroundEstimator, Seen

Floats = npt.NDArray[np.float64]

SOLES = ("big_toe", "small_toe", "heel")
Y_UP = np.diag([1.0, -1.0, -1.0])
"""Camera frame (x right, y down, z forward) to x right, y up, z towards the viewer."""
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Camera frame to x right, y forward, z up."""

FEET = [KEYPOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right") for part in SOLES]
_POINTS = ("joints_cam_m", "keypoints_cam_m", "translation_m")


@dataclass(frozen=True)
class Take:
    """A stretch of a track without a long gap.

    Attributes:
        track: the whole track.
        number: 1 for the first take of the track, or 0 where it is the only one.
        rows: (T,) the rows of the track in it.
    """

    track: Track
    number: int
    rows: npt.NDArray[Any]

    @property
    def name(self) -> str:
        """For files: ``track-3`` or ``track-3.take-2``."""
        return f"track-{self.track.track_id}" + (f".take-{self.number}" if self.number else "")


@dataclass(frozen=True)
class Motion:
    """A take at a fixed frame rate on a body of fixed shape, in the camera frame.

    Attributes:
        t_s: (T,) seconds since the start of the file.
        fps: frames per second.
        rotations: (T, 24, 3, 3) of the root in the camera frame, then of each joint relative to its parent.
        pelvis_m: (T, 3).
        joints_m, keypoints_m: (T, 24, 3) and (T, 23, 3) as they were tracked, not of the fixed body.
        betas: (10,) mean shape of the track.
    """

    t_s: Floats
    fps: float
    rotations: Floats
    pelvis_m: Floats
    joints_m: Floats
    keypoints_m: Floats
    betas: Floats


def takes_of(track: Track, max_gap_s: float) -> list[Take]:
    """Cut a track where nothing is known for longer than ``max_gap_s``."""
    cuts = np.flatnonzero(np.diff(track.t_ns) > max_gap_s * 1e9) + 1
    pieces = np.split(track.rows, cuts)
    return [Take(track, i if len(pieces) > 1 else 0, rows) for i, rows in enumerate(pieces, start=1)]


def resample(take: Take, fps: float, start_ns: int) -> Motion:
    """The take at ``fps`` frames per second from its first frame on: rotations by slerp, positions linearly.

    ``start_ns`` is the time that counts as 0. At the rate of the file there are as many frames as it has,
    whatever its time stamps were rounded to.
    """
    rows = take.rows
    numbers = frame_numbers(rows, fps)
    if numbers is not None:
        seen_s = numbers / fps
    else:
        seen_s = (rows["t_capture_ns"] - rows["t_capture_ns"][0]) / 1e9
    count = int(np.floor(seen_s[-1] * fps + 1e-3)) + 1
    at_s = np.minimum(np.arange(count) / fps, seen_s[-1])
    if len(rows) == 1:
        before, fraction = np.zeros(count, int), np.zeros(count)
        after = before
    else:
        before = np.clip(np.searchsorted(seen_s, at_s, side="right") - 1, 0, len(rows) - 2)
        after = before + 1
        fraction = (at_s - seen_s[before]) / (seen_s[after] - seen_s[before])
    rotations = local_rotations(rows)
    points = {name: rows[name].astype(np.float64) for name in _POINTS}
    blended = {
        name: value[before] + fraction.reshape(-1, *[1] * (value.ndim - 1)) * (value[after] - value[before])
        for name, value in points.items()
    }
    return Motion(
        t_s=(rows["t_capture_ns"][0] - start_ns) / 1e9 + np.arange(count) / fps,
        fps=fps,
        rotations=slerp(
            rotations[before],
            rotations[after],
            np.ascontiguousarray(np.broadcast_to(fraction[:, None], (count, NUM_JOINTS))),
        ),
        pelvis_m=blended["translation_m"],
        joints_m=blended["joints_cam_m"],
        keypoints_m=blended["keypoints_cam_m"],
        betas=mean_betas(take.track),
    )


def level_of(tracks: Sequence[Track]) -> Floats:
    """Rotation (3, 3) from the camera frame to the same axes held level, by all that the people tell."""
    rows = np.concatenate([track.rows for track in tracks])
    rows = rows[np.argsort(rows["t_capture_ns"], kind="stable")]
    estimator = GroundEstimator(memory_s=math.inf)
    for t_ns, seen in groupby(rows, key=lambda row: int(row["t_capture_ns"])):
        people = {
            int(row["track_id"]): Seen(row["joints_cam_m"], row["keypoints_cam_m"], row["keypoints_px"])
            for row in seen
        }
        estimator.update(t_ns, people)
    found = estimator.estimate()
    return level_from_camera(found.tilt_rad, found.roll_rad)


def grounded(track: Track, level: Floats) -> Track:
    """The track turned by ``level`` (3, 3), and moved so that its feet stand on the floor, y = 0.

    That is where the lowest point of the soles is at most times (`usual`); jumps stay above it. Each person
    is moved alone, since an error in distance lifts or sinks everybody differently.
    """
    rows = track.rows.copy()
    for name in _POINTS:
        rows[name] = rows[name] @ level.T
    roots = matrix_from_quat(rows["root_quat_wxyz"].astype(np.float64))
    rows["root_quat_wxyz"] = quat_from_matrix(level @ roots)
    lowest_m = rows["keypoints_cam_m"][:, FEET, 1].max(axis=1)  # y looks down
    floor_m = usual(lowest_m)
    for name in _POINTS:
        rows[name][..., 1] -= floor_m
    return replace(track, rows=rows)


def usual(values: npt.NDArray[Any]) -> float:
    """The middle of the shortest stretch that holds more than half of the values (T,)."""
    ordered = np.sort(values)
    held = len(ordered) // 2 + 1
    first = int((ordered[held - 1 :] - ordered[: len(ordered) - held + 1]).argmin())
    return float(ordered[first] + ordered[first + held - 1]) / 2


def mean_betas(track: Track) -> Floats:
    """(10,) shape of a track: formats with one skeleton know one."""
    return track.rows["betas"].astype(np.float64).mean(axis=0)


def local_rotations(rows: npt.NDArray[Any]) -> Floats:
    """(T, 24, 3, 3) of the root in the camera frame, then of each joint within its parent; hands rest."""
    rotations = np.tile(np.eye(3), (len(rows), NUM_JOINTS, 1, 1))
    rotations[:, 0] = matrix_from_quat(rows["root_quat_wxyz"].astype(np.float64))
    quats = rows["joint_quats_wxyz"].astype(np.float64)
    rotations[:, 1 : 1 + NUM_FLOW_JOINTS] = matrix_from_quat(quats)
    return rotations


def continuous_quats(rotations: Floats) -> Floats:
    """(T, ..., 4) quaternions wxyz without jumps of sign along the first axis, of (T, ..., 3, 3)."""
    quats: Floats = quat_from_matrix(rotations)
    flips = np.where((quats[1:] * quats[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    quats[1:] *= np.cumprod(flips, axis=0)
    return quats


def rest_joints(body: BodyModel, betas: Floats) -> Floats:
    """(24, 3) joints of the body in the T-pose, metres: x to the person's left, y up, z forward."""
    shape = _tensor(betas, body)[None]
    rest = body.joint_template + (shape @ body.joint_shapedirs).view(NUM_JOINTS, 3)
    return np.asarray(rest.numpy(), np.float64)


def joint_error_m(body: BodyModel, track: Track) -> float:
    """Mean distance of the tracked joints from those of the fixed body in the same pose.

    A few millimetres come from the mean shape; centimetres mean that another body was tracked.
    """
    rows = track.rows[:: max(1, len(track) // 100)]
    joints = body.joints(
        _tensor(mean_betas(track), body)[None],
        _tensor(local_rotations(rows), body),
        _tensor(rows["translation_m"], body),
    )
    return float(np.linalg.norm(joints.numpy() - rows["joints_cam_m"], axis=-1).mean())


def _tensor(array: npt.NDArray[Any], body: BodyModel) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array), dtype=body.dtype)
