"""Time: resampling by slerp and zero-phase low-pass filters of rotations and translations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.signal import butter, sosfiltfilt

from kinestream.geometry.rotation import matrix_from_quat, quat_from_matrix, slerp
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.source import FloatArray


def resample(clip: MotionClip, fps: float) -> MotionClip:
    """The clip at another frame rate: rotations by slerp, translation linearly; the first frame stays.

    Low-pass the clip first when going to a much lower rate and motion above its Nyquist frequency matters.
    """
    if not fps > 0:
        raise ValueError(f"{clip.name}: fps must be positive, found {fps}")
    if fps == clip.fps or len(clip) < 2:
        return replace(clip, fps=fps) if len(clip) < 2 else clip
    # the small tolerance keeps the last frame when the rates are multiples
    count = int(np.floor((len(clip) - 1) * fps / clip.fps + 1e-6)) + 1
    at = np.minimum(np.arange(count) * clip.fps / fps, len(clip) - 1)
    low = np.minimum(at.astype(int), len(clip) - 2)
    fraction = at - low
    rotations = slerp(
        clip.rotations[low],
        clip.rotations[low + 1],
        np.broadcast_to(fraction[:, None], (count, clip.rotations.shape[1])).copy(),
    )
    start, stop = clip.root_translation_m[low], clip.root_translation_m[low + 1]
    translation = start + fraction[:, None] * (stop - start)
    return replace(clip, rotations=rotations, root_translation_m=translation, fps=fps)


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
