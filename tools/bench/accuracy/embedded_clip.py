"""The whole tracker on the embedded clip with each filter, against the clip's exact truth. Needs no data.

    python -m kinestream.tools.bench.accuracy.embedded_clip [--out FILE] [--filters kalman,none]
        [--mediapipe-python PYTHON]

The clip is rendered: one person, 6 s at 30 fps, whom no network was trained on. 24 joints; errors around the
pelvis; jitter, acceleration and lag as in `kinestream.tools.metrics.motion`. Time of a frame: from the
decoded picture to the poses, one after the other, every frame processed.
"""

import math
import os
import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from kinestream.capture import open_source
from kinestream.defaults import ASSETS, DEFAULT_MODEL
from kinestream.filtering import FILTERS
from kinestream.geometry.camera import Camera
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.tools.bench.timing import write_report
from kinestream.tools.commands.demo import CLIP, TRUTH
from kinestream.tools.metrics import motion as metrics
from kinestream.tools.metrics.limbs import LIMB_JOINTS, limb_figures, mediapipe_limbs


def measure(filter_name: str, models: Models, truth: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Figures of one filter, and its error and time frame by frame (no error where nobody is seen)."""
    (width, height), K = truth["size_px"].tolist(), truth["intrinsics"]
    camera = Camera(width, height, (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2]))
    joints = np.full(truth["joints_cam_m"].shape, np.nan)
    times_s = np.full(len(joints), np.nan)
    frame_ms = []
    with open_source(ASSETS / CLIP) as source:
        tracking = Tracker(camera=camera, filter=filter_name, models=models)
        for frame in source:
            before_s = time.perf_counter()
            poses = tracking.process(frame.image_rgb, frame.t_capture_ns, frame_index=frame.index)
            frame_ms.append(1000 * (time.perf_counter() - before_s))
            times_s[frame.index] = frame.t_capture_ns / 1e9
            if poses.persons:
                true = truth["joints_cam_m"][frame.index, 0]
                nearest = min(poses, key=lambda p: float(np.linalg.norm(p.translation_m - true)))
                joints[frame.index] = nearest.joints_cam_m
    seen = np.isfinite(joints).all((1, 2))
    found = joints[seen] - joints[seen, :1]
    true_joints = truth["joints_cam_m"][seen] - truth["joints_cam_m"][seen, :1]
    error_mm = 1000 * np.linalg.norm(joints - truth["joints_cam_m"], axis=-1).mean(1)
    pelvis_mm = np.full(len(joints), np.nan)
    pelvis_mm[seen] = 1000 * np.linalg.norm(found - true_joints, axis=-1).mean(1)
    at = times_s[seen]
    lag_ms = metrics.lag_ms([(at, found, true_joints)])
    p50, p95, p99 = np.percentile(frame_ms, [50, 95, 99])
    return {
        "tracked": int(seen.sum()),
        "frames": len(joints),
        "mpjpe_mm": metrics.mpjpe_mm(found, true_joints),
        "camera_mpjpe_mm": float(np.nanmean(error_mm)),
        "acceleration_error_m_s2": metrics.acceleration_error(at, found, true_joints),
        "jitter_100m_s3": metrics.jitter(at, found),
        "lag_ms": lag_ms if math.isfinite(lag_ms) else None,
        "limbs": limb_figures(
            truth["t_ns"] / 1e9, joints[:, list(LIMB_JOINTS)], truth["joints_cam_m"][:, list(LIMB_JOINTS)]
        ),
        "frame_ms": {"p50": float(p50), "p95": float(p95), "p99": float(p99)},
        "error_over_time_mm": [round(float(e), 1) if np.isfinite(e) else None for e in pelvis_mm],
        "times_s": [round(float(t), 4) for t in times_s],
        "all_frame_ms": [round(float(ms), 2) for ms in frame_ms],
    }


def main(
    out: Annotated[Path, typer.Option(help="Report to write.")] = Path("docs/benchmarks/clip.json"),
    filters: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(FILTERS),
    threads: Annotated[int, typer.Option(min=1, help="Of the number crunching.")] = 1,
    model: Annotated[str, typer.Option(help="medium, large, or a file of weights.")] = DEFAULT_MODEL,
    mediapipe_python: Annotated[
        Path | None, typer.Option(help="Interpreter of an environment with mediapipe, to stand beside.")
    ] = None,
) -> None:
    """Measure, print a table, write the report."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    truth = dict(np.load(ASSETS / TRUTH))
    models = Models.load(regressor=model)
    measure("none", models, truth)  # warm-up
    rows = {name: measure(name, models, truth) for name in filters.split(",")}
    true_joints = truth["joints_cam_m"] - truth["joints_cam_m"][:, :1]
    true_jitter = metrics.jitter(truth["t_ns"] / 1e9, true_joints)
    table = Table("filter", "MPJPE mm", "acc err m/s²", "jitter 100 m/s³", "lag ms", "p50 ms", "p95 ms")
    for name, row in rows.items():
        row = {key: float("nan") if value is None else value for key, value in row.items()}
        keys = ("mpjpe_mm", "acceleration_error_m_s2", "jitter_100m_s3", "lag_ms")
        numbers = [row[key] for key in keys] + [row["frame_ms"][key] for key in ("p50", "p95")]
        table.add_row(name, *(f"{number:.1f}" for number in numbers))
    console = Console()
    console.print(table)
    limbs = {name: row["limbs"] for name, row in rows.items()}
    if mediapipe_python is not None:
        seen, true = mediapipe_limbs(mediapipe_python, ASSETS / CLIP), truth["joints_cam_m"]
        limbs["MediaPipe Pose"] = limb_figures(truth["t_ns"] / 1e9, seen, true[:, list(LIMB_JOINTS)])
    pairs = Table("12 limb joints", "tracked", "PA-MPJPE mm", "jitter 100 m/s³", "lag ms")
    for name, row in limbs.items():
        lag = row["lag_ms"]
        numbers = [row["pa_mpjpe_mm"], row["jitter_100m_s3"], float("nan") if lag is None else lag]
        pairs.add_row(name, str(row["tracked"]), *(f"{number:.1f}" for number in numbers))
    console.print(pairs)
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    content = {"load_average_1min": load, "true_jitter_100m_s3": true_jitter, "filters": rows, "limbs": limbs}
    write_report(out, "clip", content)


if __name__ == "__main__":
    typer.run(main)
