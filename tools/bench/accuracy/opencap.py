"""Accuracy on OpenCap's sample trials: phone video of one person with marker-based joints, no calibration.

The whole tracker on every frame, by default without filter. 12 limb joints of the body (not the surface
keypoints, whose hips lie elsewhere) against the set's joint centres at the same time; the clocks of video and
markers may differ by up to 0.15 s, so one offset a clip is fitted. PA-MPJPE is after a similarity in every
frame; beside it the error after one rotation and one scale for the whole clip, around the middle of the hips,
which keeps errors of the root's rotation.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.kernels.array_types import Float64Array
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.trainer.metrics import aligned_error, similarity_of

OFFSETS_S: Final[Float64Array] = np.arange(-0.15, 0.1501, 0.01)
_KEYS: Final = ("names", "mocap", "mocap_t")


def opencap(
    folder: Path, models: Models, *, filter: str = "none", **tracking: Any
) -> dict[str, dict[str, Any]]:
    """Metrics of every trial (NAME.mp4 with NAME.npz) of a folder, as ``opencap/NAME``.

    ``filter`` and ``tracking`` are options of `kinestream.Tracker`.
    """
    tracking |= {"filter": filter, "models": models}
    results: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.npz")):
        truth_s, truth, names = trial(path)
        rows = [JOINT_NAMES.index(name) for name in names]
        times_s, guess = _tracked(path.with_suffix(".mp4"), rows, tracking)
        results[f"opencap/{path.stem}"] = compared(times_s, guess, truth_s, truth, names)
    return results


def trial(path: Path) -> tuple[Float64Array, Float64Array, list[str]]:
    """Times (S,), joints (S, 12, 3) in metres and their names; ``ValueError`` for another file."""
    with np.load(path, allow_pickle=False) as content:
        missing = [key for key in _KEYS if key not in content.files]
        if missing:
            raise ValueError(f"{path}: no trial of OpenCap, keys {missing} are missing")
        times_s, joints_m = (content[key].astype(np.float64) for key in ("mocap_t", "mocap"))
        return times_s, joints_m, content["names"].tolist()


def _tracked(video: Path, rows: list[int], tracking: dict[str, Any]) -> tuple[Float64Array, Float64Array]:
    """Seconds (T,) since the first frame and joints (T, 12, 3) of the best person of each frame."""
    times_s, joints, first_ns = [], [], None
    with Tracker(video, policy="every", **tracking) as tracker:
        for frame in tracker:
            first_ns = frame.t_capture_ns if first_ns is None else first_ns
            if frame.persons:
                best = max(frame.persons, key=lambda person: person.score)
                times_s.append((frame.t_capture_ns - first_ns) * 1e-9)
                joints.append(best.joints_cam_m[rows].astype(np.float64))
    if not joints:
        raise ValueError(f"{video}: nobody was found; nothing to compare")
    return np.array(times_s), np.array(joints)


def compared(
    times_s: Float64Array,
    guess_m: Float64Array,
    truth_s: Float64Array,
    truth_m: Float64Array,
    names: list[str],
) -> dict[str, Any]:
    """Errors of joints (T, N, 3) at times (T,) against joints (S, N, 3) at times (S,), best clock offset."""
    fits: list[dict[str, Any]] = []
    hips = [names.index(name) for name in ("left_hip", "right_hip")]
    flat = truth_m.reshape(len(truth_m), -1)
    for offset_s in OFFSETS_S:
        at_s = times_s + offset_s
        inside = (at_s >= truth_s[0]) & (at_s <= truth_s[-1])
        if inside.any():
            guess = guess_m[inside]
            true = np.stack([np.interp(at_s[inside], truth_s, column) for column in flat.T], 1)
            true = true.reshape(guess.shape)
            fit = {
                "frames": int(inside.sum()),
                "pa_mpjpe_mm": 1000 * float(aligned_error(guess, true).mean()),
                "clip_aligned_mm": 1000 * _clip_error(guess, true, hips),
                "clock_offset_s": round(float(offset_s), 3),
            }
            fits.append(fit)
    if not fits:
        raise ValueError("no frame lies within the time of the reference")
    return min(fits, key=lambda fit: float(fit["pa_mpjpe_mm"]))


def _clip_error(guess_m: Float64Array, true_m: Float64Array, hips: list[int]) -> float:
    """Mean distance around the hips after one rotation and scale for all frames."""
    moving, fixed = (joints - joints[:, hips].mean(1, keepdims=True) for joints in (guess_m, true_m))
    turn, scale = similarity_of(moving.reshape(-1, 3), fixed.reshape(-1, 3))
    return float(np.linalg.norm(scale * moving @ turn - fixed, axis=-1).mean())
