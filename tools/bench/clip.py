"""The whole tracker on the embedded clip with each filter, against the clip's exact truth. Needs no data.

    python -m kinestream.tools.bench.clip [--out FILE] [--filters kalman,none] [--mediapipe-python PYTHON]

The clip is rendered: one person, 6 s at 30 fps, whom no network was trained on. 24 joints; errors around the
pelvis; jitter, acceleration and lag as in `kinestream.tools.metrics.motion`. Time of a frame: from the
decoded picture to the poses, one after the other, every frame processed.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from kinestream.capture import open_source
from kinestream.defaults import DEFAULT_MODEL
from kinestream.filtering import FILTERS
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.tools import options
from kinestream.tools.bench.timing import load_average, table, write_report
from kinestream.tools.metrics import motion as metrics
from kinestream.tools.metrics.clip import CLIP, ClipTruth
from kinestream.tools.metrics.limbs import LIMB_JOINTS, limb_figures, mediapipe_limbs
from kinestream.tools.process import use_threads

COLUMNS = {
    "mpjpe_mm": "MPJPE mm", "acceleration_error_m_s2": "acc err m/s²", "jitter_100m_s3": "jitter 100 m/s³",
    "lag_ms": "lag ms", "p50": "p50 ms", "p95": "p95 ms",
}  # fmt: skip
LIMB_COLUMNS = {
    "tracked": "tracked",
    "pa_mpjpe_mm": "PA-MPJPE mm",
    "jitter_100m_s3": "jitter 100 m/s³",
    "lag_ms": "lag ms",
}


def measure(
    filter_name: str, models: Models, truth: ClipTruth, *, keypoint_update: bool = True
) -> dict[str, Any]:
    """Figures of one filter, and its error and time frame by frame (NaN where nobody is seen)."""
    frames, frame_ms = [], []
    with open_source(CLIP) as source:
        tracker = Tracker(
            camera=truth.camera, filter=filter_name, models=models, keypoint_update=keypoint_update
        )
        for frame in source:
            before_s = time.perf_counter()
            frames.append(tracker.process(frame.image_rgb, frame.t_capture_ns, frame_index=frame.index))
            frame_ms.append(1000 * (time.perf_counter() - before_s))
    return figures(frames, truth) | {
        "frame_ms": {f"p{share}": float(np.percentile(frame_ms, share)) for share in (50, 95, 99)},
        "all_frame_ms": [round(float(ms), 2) for ms in frame_ms],
    }


def figures(frames: Sequence[PoseFrame], truth: ClipTruth) -> dict[str, Any]:
    """Error, jitter and lag of the person nearest to the true one in the frames of the embedded clip."""
    joints = np.full(truth.joints_cam_m.shape, np.nan)
    times_s = np.full(len(joints), np.nan)
    for poses in frames:
        times_s[poses.frame_index] = poses.t_capture_ns / 1e9
        if poses.persons:
            pelvis = truth.joints_cam_m[poses.frame_index, 0]
            nearest = min(poses, key=lambda p: float(np.linalg.norm(p.translation_m - pelvis)))
            joints[poses.frame_index] = nearest.joints_cam_m
    seen = np.isfinite(joints).all((1, 2))
    at = times_s[seen]
    around = joints - joints[:, :1]
    true_around = truth.joints_cam_m - truth.joints_cam_m[:, :1]
    found, true = around[seen], true_around[seen]
    pelvis_mm = 1000 * np.linalg.norm(around - true_around, axis=-1).mean(1)
    limbs = list(LIMB_JOINTS)
    return {
        "tracked": int(seen.sum()),
        "frames": len(joints),
        "mpjpe_mm": metrics.mpjpe_mm(found, true),
        "camera_mpjpe_mm": metrics.mpjpe_mm(joints[seen], truth.joints_cam_m[seen]),
        "acceleration_error_m_s2": metrics.acceleration_error(at, found, true),
        "jitter_100m_s3": metrics.jitter(at, found),
        "lag_ms": metrics.lag_ms([(at, found, true)]),
        "limbs": limb_figures(truth.times_s, joints[:, limbs], truth.joints_cam_m[:, limbs]),
        "error_over_time_mm": [round(float(error), 1) for error in pelvis_mm],
        "times_s": [round(float(t), 4) for t in times_s],
    }


def main(
    out: options.Report = Path("docs/benchmarks/clip.json"),
    filters: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(FILTERS),
    threads: options.Threads = 1,
    model: options.Model = DEFAULT_MODEL,
    mediapipe_python: options.MediapipePython = None,
) -> None:
    """Track the embedded clip with each filter: error, jitter, lag, time of a frame."""
    use_threads(threads)
    truth, models = ClipTruth.load(), Models.load(regressor=model)
    measure("none", models, truth)  # warm-up
    rows = {name: measure(name, models, truth) for name in filters.split(",")}
    true_jitter = metrics.jitter(truth.times_s, truth.joints_cam_m - truth.joints_cam_m[:, :1])
    console = Console()
    console.print(table({name: row | row["frame_ms"] for name, row in rows.items()}, COLUMNS, first="filter"))
    limbs = {name: row["limbs"] for name, row in rows.items()}
    if mediapipe_python is not None:
        true = truth.joints_cam_m[:, list(LIMB_JOINTS)]
        limbs["MediaPipe Pose"] = limb_figures(truth.times_s, mediapipe_limbs(mediapipe_python, CLIP), true)
    console.print(table(limbs, LIMB_COLUMNS, first="12 limb joints"))
    content = {"load_average_1min": load_average(), "true_jitter_100m_s3": true_jitter}
    write_report(out, "clip", content | {"filters": rows, "limbs": limbs})


if __name__ == "__main__":
    typer.run(main)
