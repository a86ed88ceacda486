"""Small made-up motion, and recordings of it."""

import numpy as np

from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.dynamics.clips import LatentClips, multiply
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations


def motion(name: str, *, frames: int = 150, fps: float = 60.0, seed: int = 0) -> MotionClip:
    """Limbs that swing, and a pelvis that walks and turns."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / fps
    swing = 0.5 * rng.standard_normal((22, 3)) * np.sin(2 * np.pi * rng.uniform(0.3, 1.2, (22, 1)) * t)
    place = np.stack([0.9 * t[:, 0, 0], 0.9 + 0 * t[:, 0, 0], 0.1 * np.sin(3 * t[:, 0, 0])], -1)
    return MotionClip(name, matrix_from_axis_angle(swing), place, fps)


def unused(clips: int, frames: int) -> dict[str, np.ndarray]:
    """What recordings hold and the filter's training does not read."""
    betas = np.zeros((clips, frames, 10), np.float32)
    return {
        "betas": betas[:, 0],
        "seen_betas": betas,
        "betas_std": betas + 1,
        "keypoints": np.zeros((clips, frames, 23, 3), np.float32),
        "covariance": np.full((clips, frames, 23, 3), np.nan, np.float32),
        "half_box": np.ones((clips, frames), np.float32),
    }


def recording(
    clips: LatentClips, *, frames: int = 90, fps: float = 60.0, offset: float = 0.5
) -> RecordedObservations:
    """Three clips, seen with an offset of every latent, a turn of 0.1 rad and 0.2 m too far."""
    times = np.tile(np.arange(frames) / fps, (3, 1))
    truth = clips.at(np.arange(3), times)
    turn = np.broadcast_to(np.array([np.cos(0.05), 0, np.sin(0.05), 0], np.float32), (3, frames, 4))
    return RecordedObservations(
        fps=fps,
        z=truth.z,
        root_quat_wxyz=truth.root_quat_wxyz,
        translation_m=truth.translation_m,
        seen_z=truth.z + np.float32(offset),
        seen_root_quat_wxyz=multiply(truth.root_quat_wxyz, turn).astype(np.float32),
        seen_translation_m=truth.translation_m + np.array([0, 0, 0.2], np.float32),
        std=np.full((3, frames, 69), 0.4, np.float32),
        missing=np.zeros((3, frames), bool),
        **unused(3, frames),
    )
