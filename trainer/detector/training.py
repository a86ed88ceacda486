"""The detector's frames, loss, validation and training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinestream.detect.detector import peaks, suppress
from kinestream.detect.network import STRIDE
from kinestream.geometry.boxes import iou
from kinestream.networks.interface import DetectorOutput
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.boxed_frames import BoxedFrames, FrameSource
from kinestream.trainer.data.crops.detection_frames import DetectionFrames, PhotoCutOuts, PoolCutOuts
from kinestream.trainer.data.photos.open_images import load_open_images
from kinestream.trainer.data.photos.photos import FREE_PHOTO_SETS
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.losses.detection import box_loss, center_loss, center_target
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import linear_decay


def frame_shapes(frame_px: int) -> tuple[tuple[int, int], ...]:
    """Heights and widths of letterboxed frames: the forms of 16:9, 4:3, square and portrait."""
    wide, tall = (-(-frame_px * share // 16 // 32) * 32 for share in (9, 12))
    return (wide, frame_px), (tall, frame_px), (frame_px, frame_px), (frame_px, wide)


EVALUATION_SCORE = 0.3
MATCH_OVERLAP = 0.5

Frame = tuple[
    "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"
]


def to_batch(frames: list[Frame]) -> tuple[Tensor, Tensor, Tensor]:
    """Images (B, 3, H, W) uint8, centre maps (B, h, w) and box maps (B, 4, h, w) of frames of one shape."""
    images = torch.from_numpy(np.stack([image for image, _ in frames])).permute(0, 3, 1, 2)
    height, width = images.shape[2] // STRIDE, images.shape[3] // STRIDE
    targets = [center_target(torch.from_numpy(boxes), height, width) for _, boxes in frames]
    return images, torch.stack([t for t, _ in targets]), torch.stack([b for _, b in targets])


@torch.no_grad()
def evaluate(network: torch.nn.Module, frames: list[Frame]) -> dict[str, float]:
    """Recall and precision at overlap 0.5 and score 0.3."""
    network.eval()
    found, true, hits = 0, 0, 0
    for image, boxes in frames:
        output: DetectorOutput = network(torch.from_numpy(image)[None].permute(0, 3, 1, 2))
        guesses, scores = peaks(output, EVALUATION_SCORE)
        guesses = guesses[suppress(guesses, scores, 0.55)]
        overlap = iou(boxes, guesses)
        hits += int((overlap.max(1) >= MATCH_OVERLAP).sum()) if overlap.size else 0
        found, true = found + len(guesses), true + len(boxes)
    return {"recall": hits / max(true, 1), "precision": min(hits / max(found, 1), 1.0)}


def train(
    frames: FrameSource,
    validation: list[Frame],
    run: TrainingRun,
    *,
    frame_px: int,
    steps: int,
    batch_size: int,
    peak_rate: float,
    warmup: int = 200,
    seed: int = 0,
    bfloat16: bool = True,
    **loop: Any,
) -> None:
    """Train the run's network; all frames of a step have one shape. ``loop``: see `TrainingRun.train`."""
    shapes = frame_shapes(frame_px)

    def loss_of_step() -> tuple[Tensor, dict[str, Tensor]]:
        rng = run.generator(seed)
        shape = shapes[int(rng.integers(len(shapes)))]
        images, centers, boxes = to_batch([frames.sample(rng, shape=shape) for _ in range(batch_size)])
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output: DetectorOutput = run.network(images.contiguous(memory_format=torch.channels_last))
        terms = {
            "center": center_loss(output.center_logit, centers),
            "box": box_loss(output.boxes_xyxy_px, boxes, centers),
        }
        return terms["center"] + terms["box"], {name: value.detach() for name, value in terms.items()}

    run.train(
        loss_of_step,
        rate=lambda step: linear_decay(step, peak=peak_rate, steps=steps, warmup=warmup, decay_share=0.3),
        steps=steps,
        validate=lambda average: {"composed": evaluate(average, validation)},
        **loop,
    )


def detection_frames(
    data: Path,
    pool: Path | None,
    split: str,
    *,
    frame_px: int,
    photos: Sequence[str] = FREE_PHOTO_SETS,
) -> DetectionFrames:
    """Frames of the rendered people of ``pool/<split>`` (4 parts of 5) and of photo sets."""
    backdrops = Backdrops.load(data / "backgrounds" / "hdri", side_px=frame_px)
    sources: list[tuple[PoolCutOuts | PhotoCutOuts, float]] = []
    if pool is not None:
        sources.append((PoolCutOuts(pool / split), 0.8))
    labels = {name: PseudoLabels.load(data / "pseudo" / f"{name}.npz") for name in photos}
    total = sum(map(len, labels.values()))
    for name, entry in labels.items():
        sources.append((PhotoCutOuts(data / "images" / name, entry), 0.2 * len(entry) / total))
    return DetectionFrames(sources, backdrops)


def boxed_frames(specs: Sequence[str]) -> BoxedFrames:
    """Frames of photos with boxes, each given as ``BOXES.csv=PICTURES``; ``ValueError`` for another form."""
    photos = []
    for spec in specs:
        boxes, separator, pictures = spec.partition("=")
        if not separator:
            raise ValueError(f"expected BOXES.csv=PICTURES, found {spec!r}")
        photos += load_open_images(Path(boxes), Path(pictures))
    return BoxedFrames(photos)
