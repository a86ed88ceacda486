"""Poses drawn by what they show, not by how often it was recorded: inverse density of pose and speed.

Ten repetitions of one exercise are ten times as many frames and hardly more motion. Frames are described by
the joints in the person's own heading and by their velocities; centres spread over all of them as far apart
as they can be (k-center, greedy), each frame belongs to the nearest, and a frame of a crowded centre counts
for less.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.poses import load_poses, thin_by_arc_length, with_mirrored
from kinestream.trainer.data.motion.source import FloatArray

SPEED_WEIGHT_S = 0.1
"""A velocity of 1 m/s counts as much as a joint that is so many metres elsewhere."""
CENTRES = 1500
POWER = 0.5
"""0 draws every frame as often, 1 every centre; between, so that lone artefacts do not rule."""


def motion_features(clip: MotionClip) -> FloatArray:
    """(T, 144): joints (24, 3) from the pelvis, metres, and their velocities times `SPEED_WEIGHT_S`.

    Both are turned about the vertical so that the pelvis faces forward.
    """
    joints = clip.joints_m()
    velocity = np.gradient(joints, 1 / clip.fps, axis=0) if len(clip) > 1 else np.zeros_like(joints)
    forward = clip.rotations[:, 0, :, 2]
    upright = clip.rotations[:, 0, :, 1]
    # someone who lies faces up or down; then the head's direction tells the heading
    heading = np.where((np.abs(forward[:, 1]) < 0.8)[:, None], forward, upright)
    yaw = np.arctan2(heading[:, 0], heading[:, 2])
    cos, sin, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    rows = ((cos, zero, -sin), (zero, zero + 1, zero), (sin, zero, cos))
    turn = np.stack([np.stack(row, -1) for row in rows], -2)[:, None]
    own = [turn @ part[..., None] for part in (joints - joints[:, :1], SPEED_WEIGHT_S * velocity)]
    return np.concatenate([part.reshape(len(clip), -1) for part in own], axis=1)


def variety_weights(features: FloatArray, *, centres: int = CENTRES, power: float = POWER) -> FloatArray:
    """Weights (N,) with sum 1 of features (N, D): a frame's weight is its centre's size to the -``power``."""
    points = torch.from_numpy(np.asarray(features, np.float32))
    squares = points.square().sum(1)
    nearest = torch.full((len(points),), torch.inf)
    owner = torch.zeros(len(points), dtype=torch.long)
    chosen = int((points - points.mean(0)).square().sum(1).argmin())
    for index in range(min(centres, len(points))):
        distance = squares + squares[chosen] - 2 * (points @ points[chosen])
        closer = distance < nearest
        nearest = torch.where(closer, distance, nearest)
        owner[closer] = index
        chosen = int(nearest.argmax())
    sizes = torch.bincount(owner).double()
    weights = sizes[owner] ** -power
    shares: FloatArray = (weights / weights.sum()).numpy()
    return shares


def drawn_by_weight(weights: FloatArray, seed: int = 0) -> FloatArray:
    """As many indices as weights (N,), each about N times its weight often, evenly spread (systematic)."""
    ticks = (np.arange(len(weights)) + np.random.default_rng(seed).random()) / len(weights)
    drawn: FloatArray = np.searchsorted(np.cumsum(weights), ticks).clip(0, len(weights) - 1)
    return drawn


def load_varied_poses(cache: Path, split: str | None, *, step_rad: float, centres: int = CENTRES) -> Tensor:
    """Poses (N, 22, 3, 3) of a split (None: all), root first, ``step_rad`` apart and drawn by variety."""
    poses, features = [], []
    for clip in MocapCache.load(cache).clips(split):
        frames = thin_by_arc_length(clip, step_rad)
        poses.append(clip.rotations[frames].astype(np.float32))
        features.append(motion_features(clip)[frames])
    if not poses:
        raise ValueError(f"{cache}: no clip of split '{split}'")
    drawn = drawn_by_weight(variety_weights(np.concatenate(features), centres=centres))
    return torch.from_numpy(np.concatenate(poses)[drawn])


def varied_moments(
    clips: Sequence[MotionClip], *, step_rad: float = 0.05, centres: int = CENTRES
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], FloatArray]:
    """Index of the clip and time in it (s) of moments ``step_rad`` of motion apart, drawn by variety."""
    owners, times, features = [], [], []
    for index, clip in enumerate(clips):
        frames = thin_by_arc_length(clip, step_rad)
        owners.append(np.full(len(frames), index))
        times.append(np.asarray(frames) / clip.fps)
        features.append(motion_features(clip)[frames])
    drawn = drawn_by_weight(variety_weights(np.concatenate(features), centres=centres))
    return np.concatenate(owners)[drawn], np.concatenate(times)[drawn]


def rooted_poses(cache: Path, split: str) -> Tensor:
    """Poses with the root (N, 22, 3, 3) of a split, 0.05 rad of motion apart, with their mirror images.

    Those of "train" are drawn by variety.
    """
    if split == "train":
        return with_mirrored(load_varied_poses(cache, split, step_rad=0.05))
    return with_mirrored(load_poses(cache, split, step_rad=0.05, root=True))
