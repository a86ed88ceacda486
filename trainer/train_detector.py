"""Train the person detector.

python -m kinestream.trainer.train_detector --run FOLDER --data DATA --pool POOL
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from kinestream.detect.detector import DETECTOR_FORMAT
from kinestream.detect.network import DetectorNetwork
from kinestream.networks.interface import DetectorConfig
from kinestream.networks.weight_files import fill, read_weights
from kinestream.trainer import options
from kinestream.trainer.data.crops.boxed_frames import FrameSource, MixedFrames
from kinestream.trainer.data.photos.photos import FREE_PHOTO_SETS
from kinestream.trainer.detector.training import boxed_frames, detection_frames, frame_shapes, train
from kinestream.trainer.regressor.rate_groups import rate_groups
from kinestream.trainer.run_state import TrainingRun

VALIDATION_FRAMES = 96


def main(
    run: options.Run,
    data: options.Data,
    pool: Annotated[Path | None, typer.Option(help="crop pool with train/ and val/")] = None,
    photos: options.Photos = None,
    open_images: Annotated[
        list[str] | None, typer.Option(help="BOXES.csv=PICTURES in Open Images' layout; repeatable")
    ] = None,
    open_images_share: Annotated[float, typer.Option(help="of the frames, for --open-images")] = 0.3,
    backbone: str = "medium",
    frame_px: Annotated[int, typer.Option(help="longer side of the frames")] = 256,
    init: options.Init = None,
    init_rate: options.InitRate = 1.0,
    frozen_stages: options.FrozenStages = 0,
    steps: int = 6000,
    batch_size: int = 16,
    peak_rate: options.PeakRate = 2e-3,
    seed: int = 0,
    threads: int = 1,
    bfloat16: bool = True,
) -> None:
    """Train, then write ``detector.safetensors`` (averaged weights) into the run's folder."""
    options.set_up(threads=threads, seed=seed)
    network = DetectorNetwork(DetectorConfig(backbone=backbone, frame_px=frame_px))
    if init is not None:
        fill(network, read_weights(init, kind=DETECTOR_FORMAT)[1], path=init)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = (network.backbone, network.pyramid, network.center)
    groups = rate_groups(network, started, started_rate=init_rate, frozen_stages=frozen_stages)
    training = TrainingRun(run, network, torch.optim.AdamW(groups, lr=peak_rate, weight_decay=1e-2))
    training.resume()
    held_out = detection_frames(data, pool, "val", frame_px=frame_px)
    rng = np.random.default_rng(12345)
    shapes = frame_shapes(frame_px)
    validation = [held_out.sample(rng, shape=shapes[i % len(shapes)]) for i in range(VALIDATION_FRAMES)]
    frames: FrameSource = detection_frames(
        data, pool, "train", frame_px=frame_px, photos=photos or FREE_PHOTO_SETS
    )
    if open_images:
        boxed = boxed_frames(open_images)
        frames = MixedFrames([(frames, 1 - open_images_share), (boxed, open_images_share)])
    train(
        frames,
        validation,
        training,
        frame_px=frame_px,
        steps=steps,
        batch_size=batch_size,
        peak_rate=peak_rate,
        seed=seed,
        bfloat16=bfloat16,
        validate_every=300,
    )
    training.ship("detector.safetensors", kind=DETECTOR_FORMAT, config=network.config.to_dict())


if __name__ == "__main__":
    typer.run(main)
