"""Fits of the body to the 14 keypoints of LSP-Extended photos: accuracy, plausibility, time."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.latent.flow import PoseFlow
from kinestream.latent.prior.completion import plausibility
from kinestream.latent.prior.fit import Fit, fit_keypoints

FOCAL_PER_SIDE = 1.2
"""Assumed focal length in units of the picture's longer side (45 degrees): the crops carry no calibration."""


def load_labels(folder: Path, *, count: int = 200) -> tuple[list[str], Tensor, Tensor, Tensor]:
    """File names, keypoints (N, 14, 2), confidence (N, 14) and sizes (N, 2), evenly drawn from val.txt."""
    records = {
        r["file"]: r for r in json.loads((folder / "labels.json").read_text(encoding="utf-8"))["images"]
    }
    names = [Path(line).name for line in (folder / "val.txt").read_text(encoding="utf-8").split()]
    chosen = [records[name] for name in names[:: max(1, len(names) // count)][:count]]
    joints = torch.tensor([record["joints"] for record in chosen])
    sizes = torch.tensor([[record["width"], record["height"]] for record in chosen], dtype=torch.float32)
    return [record["file"] for record in chosen], joints[..., :2], (joints[..., 2] > 0).float(), sizes


def fit_labels(flow: PoseFlow, folder: Path, *, count: int = 200) -> tuple[Fit, float]:
    """Fit `count` validation labels; the fit and the seconds a photo."""
    _, keypoints, confidence, sizes = load_labels(folder, count=count)
    body = BodyModel.load()
    started = time.perf_counter()
    fit = fit_keypoints(
        flow, body, keypoints, confidence, focal_px=FOCAL_PER_SIDE * sizes.amax(1), center_px=sizes / 2
    )
    return fit, (time.perf_counter() - started) / len(keypoints)


def fit_photos(flow: PoseFlow, folder: Path, *, count: int = 200) -> dict[str, Any]:
    """Evaluate fits: mean reprojection error in parts of the person's size, plausibility by the main flow."""
    fit, seconds = fit_labels(flow, folder, count=count)
    close = fit.mean_error < 0.05
    plausible = plausibility(PoseFlow.load(), fit.rotations[:, 1:22]) >= 0.01
    return {
        "photos": len(close),
        "error_median": round(float(fit.mean_error.median()), 4),
        "error_p90": round(float(fit.mean_error.quantile(0.9)), 4),
        "share_error_below_5_percent": round(float(close.float().mean()), 3),
        "share_no_stranger_than_99_percent_of_real": round(float(plausible.float().mean()), 3),
        "share_both": round(float((close & plausible).float().mean()), 3),
        "seconds_a_photo": round(seconds, 3),
    }
