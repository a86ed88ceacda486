"""Mocap clips as trajectories of the filter's state (z, root, translation), sampled at any time."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from kinestream.body.mirror import MIRROR_POSITION, MIRROR_QUAT, mirror_rotations
from kinestream.geometry.quaternion import multiply, rotate
from kinestream.geometry.rotation import quat_from_matrix
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.low_pass import continuous_quat

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trajectory:
    """States at times: z (..., T, D), root_quat_wxyz (..., T, 4), translation_m (..., T, 3).

    `swapped_z` is the latent of the pose with left and right exchanged, for simulated confusions.
    """

    z: Floats
    swapped_z: Floats
    root_quat_wxyz: Floats
    translation_m: Floats


@dataclass(frozen=True)
class CameraPose:
    """Static camera: rotation (..., 4) wxyz camera from world, and the world point (..., 3) it looks at."""

    quat_wxyz: Floats
    target_m: Floats
    distance_m: Floats

    def apply(self, states: Trajectory) -> Trajectory:
        """World states to camera states (x right, y down, z forward)."""
        turn = self.quat_wxyz[..., None, :]
        offset = states.translation_m - self.target_m[..., None, :]
        moved = rotate(turn, offset)
        moved[..., 2] += self.distance_m[..., None]
        root = multiply(np.broadcast_to(turn, states.root_quat_wxyz.shape), states.root_quat_wxyz)
        return Trajectory(states.z, states.swapped_z, root, moved)


class LatentClips:
    """Clips encoded by a flow, in one array; every clip also mirrored.

    Args:
        clips: the motions; shorter ones than four frames are left out.
        flow: gives the latent space.

    """

    def __init__(self, clips: list[MotionClip], flow: PoseFlow) -> None:
        clips = [clip for clip in clips if len(clip) >= 4]
        if not clips:
            raise ValueError("expected at least one clip of four frames or more, found none")
        self.names = [clip.name for clip in clips]
        self.lengths = np.array([len(clip) for clip in clips])
        self.firsts = np.cumsum(self.lengths) - self.lengths
        self.fps = np.array([clip.fps for clip in clips])
        self.durations_s = (self.lengths - 1) / self.fps
        self._z = np.concatenate([encoded(flow, clip.rotations[:, 1:]) for clip in clips])
        self._mirrored_z = np.concatenate(
            [encoded(flow, mirror_rotations(clip.rotations[:, 1:])) for clip in clips]
        )
        self._root = np.concatenate(
            [
                continuous_quat(quat_from_matrix(np.asarray(clip.rotations[:, 0], np.float64))).astype(
                    np.float32
                )
                for clip in clips
            ]
        )
        self._translation = np.concatenate([clip.root_translation_m for clip in clips]).astype(np.float32)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def latent_size(self) -> int:
        """D."""
        return int(self._z.shape[1])

    def at(
        self, clip: npt.NDArray[np.int64], times_s: Times, *, mirrored: npt.NDArray[np.bool_] | bool = False
    ) -> Trajectory:
        """States of clips (B,) at times (B, T) from each clip's start, in the world; ends are held.

        Cubic (Catmull-Rom) between frames, so that accelerations are sensible at any rate.
        """
        clip, times_s = np.asarray(clip), np.asarray(times_s)
        last = self.lengths[clip][:, None] - 1
        position = np.clip(times_s * self.fps[clip][:, None], 0, last)
        low = np.minimum(position.astype(np.int64), last - 1)
        weights = _catmull_rom((position - low).astype(np.float32))
        rows = [self.firsts[clip][:, None] + np.clip(low + shift, 0, last) for shift in (-1, 0, 1, 2)]

        def blend(values: Floats) -> Floats:
            total: Floats = sum(w[..., None] * values[r] for w, r in zip(weights, rows, strict=True))
            return total

        z, swapped = blend(self._z), blend(self._mirrored_z)
        root, translation = unit(blend(self._root)), blend(self._translation)
        flip = np.broadcast_to(np.asarray(mirrored), clip.shape)[:, None, None]
        return Trajectory(
            np.where(flip, swapped, z),
            np.where(flip, z, swapped),
            np.where(flip, root * MIRROR_QUAT, root),
            np.where(flip, translation * MIRROR_POSITION, translation),
        )


def held_out_halves(clips: list[MotionClip]) -> tuple[list[MotionClip], list[MotionClip]]:
    """Validation and test clips: motions (file stems, sorted) in turn, each motion in one form only."""
    chosen: dict[str, list[MotionClip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.name):  # .amc comes before .bvh
        file = clip.name.split("#")[0]
        parts = chosen.setdefault(file.rpartition(".")[0] or file, [])
        if not parts or parts[0].name.split("#")[0] == file:
            parts.append(clip)
    motions = [chosen[stem] for stem in sorted(chosen)]
    return [c for motion in motions[0::2] for c in motion], [c for motion in motions[1::2] for c in motion]


def random_cameras(targets_m: Floats, rng: np.random.Generator) -> CameraPose:
    """Static cameras (B,) at any azimuth, 25 degrees down to 15 up, 2 to 6 m from their targets (B, 3)."""
    count = len(targets_m)
    yaw = rng.uniform(-np.pi, np.pi, count) / 2
    pitch = np.radians(rng.uniform(-15, 25, count)) / 2
    zero = np.zeros(count)
    about_y = np.stack([np.cos(yaw), zero, np.sin(yaw), zero], -1)
    about_x = np.stack([np.cos(pitch), np.sin(pitch), zero, zero], -1)
    to_opencv = np.array([0.0, 1.0, 0.0, 0.0])  # half a turn about x: y down, z forward
    quat = multiply(np.broadcast_to(to_opencv, about_x.shape), multiply(about_x, about_y))
    return CameraPose(quat.astype(np.float32), targets_m, rng.uniform(2.0, 6.0, count).astype(np.float32))


def unit(values: Floats) -> Floats:
    """Vectors (..., n) of length one."""
    scaled: Floats = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return scaled


def _catmull_rom(u: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    square, cube = u * u, u * u * u
    return (
        -0.5 * u + square - 0.5 * cube,
        1 - 2.5 * square + 1.5 * cube,
        0.5 * u + 2 * square - 1.5 * cube,
        -0.5 * square + 0.5 * cube,
    )


def encoded(flow: PoseFlow, rotations: npt.NDArray[np.floating]) -> Floats:
    """Latents (N, D) of rotations (N, 21, 3, 3)."""
    with torch.inference_mode():
        every = torch.from_numpy(np.ascontiguousarray(rotations, np.float32))
        parts = [flow.encode(every[first : first + 4096]) for first in range(0, len(every), 4096)]
        return torch.cat(parts).numpy()
