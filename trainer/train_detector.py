"""Train the person detector.

python -m kinestream.trainer.train_detector --data DATA --pool POOL --run FOLDER
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from torch import Tensor

from kinestream.detect.detector import DETECTOR_FORMAT, peaks, suppress
from kinestream.detect.network import STRIDE, DetectorConfig, DetectorNetwork, DetectorOutput
from kinestream.geometry.boxes import iou
from kinestream.networks.weight_files import fill, read_weights, save_weights
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.boxed_frames import BoxedFrames, FrameSource, MixedFrames
from kinestream.trainer.data.crops.detection_frames import DetectionFrames, PhotoCutOuts, PoolCutOuts
from kinestream.trainer.data.photos.open_images import load_open_images
from kinestream.trainer.data.photos.photos import FREE_PHOTO_SETS
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.losses.detection import box_loss, center_loss, center_target
from kinestream.trainer.regressor.fine_tuning import rate_groups
from kinestream.trainer.run_state import TrainingRun, learning_rate

_logger = logging.getLogger(__name__)


def frame_shapes(frame_px: int) -> tuple[tuple[int, int], ...]:
    """Heights and widths of letterboxed frames: the forms of 16:9, 4:3, square and portrait."""
    wide, tall = (-(-frame_px * share // 16 // 32) * 32 for share in (9, 12))
    return (wide, frame_px), (tall, frame_px), (frame_px, frame_px), (frame_px, wide)


EVALUATION_FRAMES = 96
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
    stop_after: int | None = None,
    bfloat16: bool = True,
    evaluate_every: int = 300,
) -> None:
    """Run until ``steps`` (or pause at ``stop_after``); all frames of a step have one shape."""
    shapes = frame_shapes(frame_px)
    while run.step < min(steps, stop_after or steps):
        rng = run.generator(seed)
        shape = shapes[int(rng.integers(len(shapes)))]
        images, centers, boxes = to_batch([frames.sample(rng, shape=shape) for _ in range(batch_size)])
        run.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            output: DetectorOutput = run.network(images.contiguous(memory_format=torch.channels_last))
        terms = {
            "center": center_loss(output.center_logit, centers),
            "box": box_loss(output.boxes_xyxy_px, boxes, centers),
        }
        rate = learning_rate(run.step, peak=peak_rate, steps=steps, warmup=warmup, decay_share=0.3)
        run.update(terms["center"] + terms["box"], learning_rate=rate)
        if run.step % 50 == 0:
            _logger.info("%s", run.log(rate=rate, **{n: v.detach() for n, v in terms.items()}))
        if run.step % evaluate_every == 0 or run.step == steps:
            _logger.info("%s", run.log(validation="composed", **evaluate(run.average.module, validation)))
            run.save()


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


def main(
    run: Annotated[Path, typer.Option(help="folder of the run: checkpoint, log, weights")],
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="data folder")],
    pool: Annotated[Path | None, typer.Option(help="folder with crop pools train/ and val/")] = None,
    photos: Annotated[
        list[str] | None, typer.Option(help="photo sets (DATA/images, DATA/pseudo); repeatable")
    ] = None,
    open_images: Annotated[
        list[str] | None, typer.Option(help="BOXES.csv=PICTURES in Open Images' layout; repeatable")
    ] = None,
    open_images_share: Annotated[float, typer.Option(help="of the frames, for --open-images")] = 0.3,
    backbone: str = "medium",
    frame_px: Annotated[int, typer.Option(help="longer side of the frames")] = 256,
    start: Annotated[
        Path | None,
        typer.Option(help="detector to start from, as kinestream.trainer.weights.import_movenet makes it"),
    ] = None,
    trunk_rate: Annotated[
        float, typer.Option(help="rate of all but the boxes over theirs; 0: train boxes only")
    ] = 1.0,
    frozen_stages: Annotated[int, typer.Option(help="first stages of the trunk that keep their weights")] = 0,
    steps: int = 6000,
    batch_size: int = 16,
    peak_rate: float = 2e-3,
    seed: int = 0,
    threads: int = 1,
    bfloat16: bool = True,
) -> None:
    """Train, then write ``detector.safetensors`` (averaged weights) into the run's folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(seed)
    network = DetectorNetwork(DetectorConfig(backbone=backbone, frame_px=frame_px))
    if start is not None:
        fill(network, read_weights(start, kind=DETECTOR_FORMAT)[1], path=start)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = network.config
    started = (network.backbone, network.pyramid, network.center)
    groups = rate_groups(network, started, started_rate=trunk_rate, frozen_stages=frozen_stages)
    state = TrainingRun(run, network, torch.optim.AdamW(groups, lr=peak_rate, weight_decay=1e-2))
    state.resume()
    held_out = detection_frames(data, pool, "val", frame_px=config.frame_px)
    rng = np.random.default_rng(12345)
    shapes = frame_shapes(config.frame_px)
    validation = [held_out.sample(rng, shape=shapes[i % len(shapes)]) for i in range(EVALUATION_FRAMES)]
    frames: FrameSource = detection_frames(
        data, pool, "train", frame_px=config.frame_px, photos=photos or FREE_PHOTO_SETS
    )
    if open_images:
        boxed = boxed_frames(open_images)
        frames = MixedFrames([(frames, 1 - open_images_share), (boxed, open_images_share)])
    train(
        frames,
        validation,
        state,
        frame_px=config.frame_px,
        steps=steps,
        batch_size=batch_size,
        peak_rate=peak_rate,
        seed=seed,
        bfloat16=bfloat16,
    )
    save_weights(
        run / "detector.safetensors",
        state.average.module,
        kind=DETECTOR_FORMAT,
        config=config.to_dict(),
        notes={"steps": str(state.step)},
    )


if __name__ == "__main__":
    typer.run(main)
