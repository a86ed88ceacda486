"""Zero-phase low-pass filters of rotations and translations."""

from dataclasses import replace

import numpy as np
from scipy.signal import butter, sosfiltfilt

from kinestream.geometry.rotation import matrix_from_quat, quat_from_matrix
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.source import FloatArray


def low_pass_root(clip: MotionClip, cutoff_hz: float) -> MotionClip:
    """Root rotation and translation through a zero-phase Butterworth low-pass (2nd order, both ways).

    The local rotations of the other joints stay as they are. Clips too short for the filter come back
    unchanged.
    """
    translation = low_pass(clip.root_translation_m, clip.fps, cutoff_hz)
    quat = continuous_quat(quat_from_matrix(clip.rotations[:, 0]))
    rotations = clip.rotations.copy()
    rotations[:, 0] = matrix_from_quat(low_pass(quat, clip.fps, cutoff_hz))
    return replace(clip, rotations=rotations, root_translation_m=translation)


def low_pass(values: FloatArray, fps: float, cutoff_hz: float) -> FloatArray:
    """Zero-phase 2nd-order Butterworth low-pass along the first axis of (T, ...)."""
    if cutoff_hz >= 0.5 * fps:
        return values
    sections = butter(2, cutoff_hz, fs=fps, output="sos")
    padding = min(len(values) - 1, int(3 * fps / cutoff_hz))
    if padding < 4:
        return values
    filtered: FloatArray = sosfiltfilt(sections, values, axis=0, padlen=padding)
    return filtered


def continuous_quat(quat_wxyz: FloatArray) -> FloatArray:
    """Choose the signs of quaternions (T, ..., 4) so that neighbours in time are on the same half sphere."""
    flips = np.ones_like(quat_wxyz[..., :1])
    flips[1:] = np.where((quat_wxyz[1:] * quat_wxyz[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    signed: FloatArray = quat_wxyz * np.cumprod(flips, axis=0)
    return signed
