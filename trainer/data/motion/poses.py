"""Single poses for the training of priors: thinned by arc length, mirrored, split by subject."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.body.mirror import mirror_rotations
from kinestream.geometry.rotation import geodesic_distance, geodesic_mean
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.source import FloatArray


def thin_by_arc_length(clip: MotionClip, step_rad: float) -> FloatArray:
    """Indices of frames that are step_rad (root mean square over joints) of motion apart.

    Sums the motion from frame to frame, so slow clips give few poses and dances many.
    """
    pose = clip.rotations[:, 1:]
    moved = np.sqrt(np.square(geodesic_distance(pose[1:], pose[:-1])).mean(axis=1))
    arc = np.concatenate([[0.0], np.cumsum(moved)])
    wanted = np.arange(0.0, arc[-1] + 1e-9, step_rad)
    return np.unique(np.searchsorted(arc, wanted).clip(0, len(clip) - 1))


def load_poses(cache: Path, split: str, *, step_rad: float | None, root: bool = False) -> Tensor:
    """Poses (N, 21, 3, 3) of a split as float32, or (N, 22, 3, 3) with the ``root``'s rotation first.

    Frames are ``step_rad`` of motion apart (see `thin_by_arc_length`); every one when that is None.
    """
    parts = []
    for clip in MocapCache.load(cache).clips(split):
        frames = slice(None) if step_rad is None else thin_by_arc_length(clip, step_rad)
        parts.append(clip.rotations[frames, 0 if root else 1 :].astype(np.float32))
    if not parts:
        raise ValueError(f"{cache}: no clip of split '{split}'")
    return torch.from_numpy(np.concatenate(parts))


def with_mirrored(poses: Tensor) -> Tensor:
    """Poses (N, 21, 3, 3), or (N, 22, 3, 3) with the root, and their mirror images: twice as many."""
    return torch.cat([poses, torch.from_numpy(mirror_rotations(poses.numpy()))])


def mean_rotations(poses: Tensor) -> Tensor:
    """Mean rotation (21, 3, 3) of each joint of poses (N, 21, 3, 3), which should be mirrored ones."""
    joints = poses[:: max(1, len(poses) // 20000)].transpose(0, 1).double()
    return geodesic_mean(joints).float()
