"""Calibrate `kinestream.filtering.keypoint_noise` on rendered people, and two floors on photos.

    python -m kinestream.trainer.prepare.keypoint_noise CACHE.npz OUT.json --data DATA

Errors of the network's keypoints inside of the picture, as shares of the longer side of the box looked into.
If they are Rayleigh with deviation s(c) = std exp(slope (1 - c)), then E log r = log s + (log 2 - gamma) / 2:
a straight line of log r over 1 - confidence, which outliers hardly move.

With heat maps whose covariance is H, errors are taken as Student's t of three degrees of freedom with the
scale matrix floor^2 I + share^2 exp(2 share_slope (1 - c)) H, its constants those of greatest likelihood.

The floors of hips and shoulders are how much more labels of photos disagree with the network there than at
elbows, knees and ankles, by the same mean of log r, over keypoints that both are sure of. The photos
(``DATA/images/gym_exercises``) are in the public domain, their labels are MediaPipe's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from torch import Tensor

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.regress.regressor import Regressor
from kinestream.regress.shipped import DEFAULT_WEIGHTS
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import OUTSIDE
from kinestream.trainer.scenes.stage import SceneAssets

Floats = npt.NDArray[np.float64]

MEAN_LOG_RAYLEIGH = (math.log(2) - float(np.euler_gamma)) / 2
PHOTOS = "gym_exercises"
SURE = 0.5
"""Photos' keypoints of at least this confidence are compared."""
KIND = [name.removeprefix("left_").removeprefix("right_") for name in KEYPOINT_NAMES]
DEGREES = 3.0
"""Of freedom: how often keypoints are far off."""
BOX_JITTER = 0.03
"""Boxes are as far off as those of a tracker, as a share of their longer side."""


def fit(share: Floats, confidence: Floats) -> tuple[float, float]:
    """Deviation at full confidence and slope of keypoints that are off by these shares (N,) of the box."""
    design = np.stack([np.ones_like(confidence), 1 - confidence], 1)
    level, slope = np.linalg.lstsq(design, np.log(np.maximum(share, 1e-5)) - MEAN_LOG_RAYLEIGH, rcond=None)[0]
    return float(np.exp(level)), float(slope)


def fit_heatmaps(error: Floats, covariance: Floats, confidence: Floats) -> dict[str, float]:
    """Constants for keypoints with heat maps, and the likelihood gained by them over confidence alone.

    Args:
        error: (N, 2) as shares of the box.
        covariance: (N, 3) of the heat maps in the same unit: xx, xy, yy.
        confidence: (N,).

    """
    x, y, missing = *torch.from_numpy(error).unbind(1), torch.from_numpy(1 - confidence)
    maps = torch.from_numpy(covariance)
    even = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)

    def loss(scale: Tensor) -> Tensor:
        xx, xy, yy = scale.unbind(1)
        determinant = xx * yy - xy * xy
        square = (yy * x * x - 2 * xy * x * y + xx * y * y) / determinant
        return (0.5 * determinant.log() + (DEGREES + 2) / 2 * (square / DEGREES).log1p()).mean()

    def by_heatmaps(floor: Tensor, share: Tensor, slope: Tensor) -> Tensor:
        return loss((2 * floor).exp() * even + (2 * (share + slope * missing)).exp()[:, None] * maps)

    def by_confidence(std: Tensor, slope: Tensor) -> Tensor:
        return loss((2 * (std + slope * missing)).exp()[:, None] * even)

    (floor, share, slope), best = _least(by_heatmaps, [-5.0, -0.5, 1.0])
    _, alone = _least(by_confidence, [-4.5, 3.0])
    return {
        "floor": math.exp(floor),
        "share": math.exp(share),
        "share_slope": slope,
        "nats_gained_a_keypoint": alone - best,
    }


def _least(loss: Callable[..., Tensor], start: list[float]) -> tuple[list[float], float]:
    """Arguments of the least loss, and that loss."""
    at = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([at], max_iter=200, line_search_fn="strong_wolfe")

    def step() -> float:
        search.zero_grad()
        value = loss(*at)
        value.backward()
        return float(value.detach())

    search.step(step)
    return at.tolist(), step()


def floors(regressor: Regressor, data: Path, photos: int) -> dict[str, float]:
    """Floors of hips and shoulders, as shares of the box's longer side."""
    labels = PseudoLabels.load(data / "pseudo" / f"{PHOTOS}.npz")
    logs: dict[str, list[float]] = {}
    for file, points in list(zip(labels.files, labels.keypoints, strict=True))[:photos]:
        image = decode(packed_image(data / "images" / PHOTOS / file))
        known = points[:, 2] > 0
        box = np.concatenate([points[known, :2].min(0), points[known, :2].max(0)])
        seen = regressor(image, box[None], Camera.from_fov(image.shape[1], image.shape[0]))
        found = seen.keypoints_px[0]
        share = np.linalg.norm(found[:, :2] - points[:, :2], axis=1) / float((box[2:] - box[:2]).max())
        for index in np.flatnonzero(known & (found[:, 2] > SURE)):
            logs.setdefault(KIND[index], []).append(math.log(max(float(share[index]), 1e-5)))
    std = {kind: math.exp(float(np.mean(values)) - MEAN_LOG_RAYLEIGH) for kind, values in logs.items()}
    usual = float(np.mean([std[kind] for kind in ("elbow", "knee", "ankle")]))
    return {kind: round(math.sqrt(max(std[kind] ** 2 - usual**2, 0.0)), 4) for kind in ("hip", "shoulder")}


def main(
    cache: Annotated[Path, typer.Argument(help="Mocap cache made by kinestream.trainer.prepare.mocap.")],
    out: Annotated[Path, typer.Argument(help="Result to write (.json).")],
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="Data folder.")],
    weights: Annotated[Path, typer.Option(help="Regressor weights.")] = DEFAULT_WEIGHTS,
    pictures: Annotated[int, typer.Option(help="Rendered pictures.", min=8)] = 600,
    photos: Annotated[int, typer.Option(help="Photos for the floors.", min=8)] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the first picture.")] = 70_000,
) -> None:
    """Render, look, fit; factors by kind of keypoint tell how far one curve serves all."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = SceneConfig(image_sizes_px=((640, 480), (480, 640)))
    assets, poses, augmenter = SceneAssets.load(data), ClipPoses.load(cache, split="train"), Augmenter(config)
    regressor, rng = Regressor.load(weights), np.random.default_rng(seed)
    errors, covariances, confidences, kinds = [], [], [], []
    kind_of = np.array(KIND)
    for picture in range(seed, seed + pictures):
        frame = next(make_clip(assets, poses, augmenter, picture, frames=1))
        person = frame.person
        box = person.box_xyxy_px.astype(np.float64)
        box += BOX_JITTER * float((box[2:] - box[:2]).max()) * rng.normal(size=4)
        seen = regressor(frame.image, box[None], frame.camera)
        inside = person.visibility != OUTSIDE
        side_px = float((box[2:] - box[:2]).max())
        errors.append((seen.keypoints_px[0, :, :2] - person.keypoints_px)[inside] / side_px)
        covariances.append(seen.covariance_px2[0, inside] / side_px**2)
        confidences.append(seen.keypoints_px[0, inside, 2])
        kinds.append(kind_of[inside])
    error, covariance, confidence = (
        np.concatenate(column).astype(np.float64) for column in (errors, covariances, confidences)
    )
    share, kind = np.linalg.norm(error, axis=1), np.concatenate(kinds)
    std, slope = fit(share, confidence)
    rest = np.log(np.maximum(share, 1e-5) / (std * np.exp(slope * (1 - confidence)))) - MEAN_LOG_RAYLEIGH
    result = {
        "keypoints": len(share),
        "std": round(std, 5),
        "slope": round(slope, 3),
        "heatmaps": {
            name: round(value, 4) for name, value in fit_heatmaps(error, covariance, confidence).items()
        },
        "floors": floors(regressor, data, photos),
        "factor_by_kind": {name: round(float(np.exp(rest[kind == name].mean())), 2) for name in set(kind_of)},
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    Console().print_json(data=result)


if __name__ == "__main__":
    typer.run(main)
