"""Train the regressor: `python -m kinestream.trainer.train_regressor --run FOLDER --data DATA --pool POOL`.

Regimes are mixed by weights: ``full`` (rendered people with exact bodies), ``weak`` (photos with machine
keypoints and silhouettes), ``self`` (photos and video without labels; the averaged network's answers on a
clean view are targets for a damaged one, and the latent dynamics tie frames together) and ``empty`` (no
person). A run goes on where its folder's checkpoint ends. Under `torchrun` the batch is split over processes.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from kinestream.networks.interface import RegressorConfig
from kinestream.networks.weight_files import fill, read_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT
from kinestream.trainer import options
from kinestream.trainer.data.annotated.annotated import AnnotatedCrops
from kinestream.trainer.data.annotated.sets import annotated_people
from kinestream.trainer.data.crops.crop_sample import MixedCrops
from kinestream.trainer.data.photos.photos import FREE_PHOTO_SETS
from kinestream.trainer.data.photos.teacher_maps import TeacherMaps
from kinestream.trainer.losses.weak import WeakLossWeights
from kinestream.trainer.processes import Processes
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.crop_sources import crop_sources
from kinestream.trainer.regressor.lifter import load_lifter
from kinestream.trainer.regressor.rate_groups import rate_groups
from kinestream.trainer.regressor.self_regime import SelfRegime, matching_dynamics, unlabelled_views
from kinestream.trainer.regressor.training import LossWeights, train
from kinestream.trainer.run_state import TrainingRun


def main(
    run: options.Run,
    data: options.Data,
    pool: Annotated[
        list[Path] | None, typer.Option(help="crop pool with train/ and val/; repeatable")
    ] = None,
    photos: options.Photos = None,
    flow: options.Flow = None,
    latent_size: Annotated[int, typer.Option(help="of the flow")] = 63,
    backbone: str = "medium",
    crop_px: Annotated[int, typer.Option(help="may differ between runs of one training")] = 192,
    body: Annotated[bool, typer.Option(help="train the latent head too (needs the flow)")] = True,
    init: options.Init = None,
    lifter: options.LifterWeights = None,
    full: float = 0.6,
    weak: float = 0.35,
    teacher_maps: Annotated[
        Path | None, typer.Option(help="file of prepare.teach_keypoints: a larger network teaches the photos")
    ] = None,
    empty: float = 0.05,
    annotated: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of an annotated set; repeatable")
    ] = None,
    annotated_share: Annotated[float, typer.Option(help="of the labelled crops, for --annotated")] = 0.3,
    self_share: Annotated[float, typer.Option("--self", help="share of the batch without labels")] = 0.0,
    unlabelled: Annotated[list[Path] | None, typer.Option(help="videos and folders of photos")] = None,
    labels: Annotated[Path | None, typer.Option(help="label files with boxes of the videos")] = None,
    frames: Annotated[int, typer.Option(help="frames of a run of unlabelled video")] = 4,
    reprojection: Annotated[float, typer.Option(help="weight of keypoints for weak bodies")] = 1.0,
    alignment: Annotated[float, typer.Option(help="weight of body parts for weak bodies")] = 0.0,
    prior: Annotated[float, typer.Option(help="weight of the latent prior for weak bodies")] = 0.002,
    temporal: Annotated[float, typer.Option(help="weight of the latent dynamics for unlabelled video")] = 0.0,
    steps: int = 20000,
    batch_size: int = 32,
    peak_rate: options.PeakRate = 2e-3,
    init_rate: options.InitRate = 1.0,
    frozen_stages: options.FrozenStages = 0,
    decay_share: float = 0.25,
    seed: int = 0,
    threads: int = 1,
    workers: Annotated[int, typer.Option(help="processes that make batches; 0: this one")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    bfloat16: bool = True,
) -> None:
    """Train, then write ``regressor.safetensors`` (averaged weights) into the run's folder."""
    options.set_up(threads=threads, seed=seed)
    network = RegressorNetwork(RegressorConfig(latent_size=latent_size, backbone=backbone, crop_px=crop_px))
    if init is not None:
        fill(network, read_weights(init, kind=REGRESSOR_FORMAT)[1], path=init)
    if lifter is not None:
        load_lifter(network.head, lifter)
    processes = Processes.join(cuda=device.startswith("cuda"))
    place = processes.device(device)
    network = network.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = (network.backbone, network.pyramid, network.dense.keypoints, network.head.lifter)
    groups = rate_groups(network, started, started_rate=init_rate, frozen_stages=frozen_stages)
    optimizer = torch.optim.AdamW(groups, lr=peak_rate, weight_decay=1e-2)
    training = TrainingRun(run, network, optimizer, processes=processes)
    training.resume()
    photos = photos or list(FREE_PHOTO_SETS)
    mix, validation = crop_sources(
        data,
        pool or [],
        crop_px=crop_px,
        full=full,
        weak=weak,
        empty=empty,
        photos=photos,
        teacher=None if teacher_maps is None else TeacherMaps.load(teacher_maps),
    )
    teacher = BodyTeacher(flow, place) if body else None
    regime: SelfRegime | None = None
    if self_share > 0:
        dynamics = matching_dynamics(teacher.flow, place) if teacher and temporal > 0 else None
        views = unlabelled_views(unlabelled or [], labels, crop_px=crop_px, frames=frames)
        regime = SelfRegime(views, self_share, frames, dynamics)
    if annotated:
        people = [person for spec in annotated for person in annotated_people(spec)]
        human = AnnotatedCrops(people, crop_px=crop_px)
        mix = MixedCrops([(mix, 1 - annotated_share), (human, annotated_share)])
    train(
        sources=mix,
        validation=validation,
        run=training,
        teacher=teacher,
        weights=LossWeights(
            temporal=temporal,
            weak=WeakLossWeights(reprojection=reprojection, alignment=alignment, prior=prior),
        ),
        unlabelled=regime,
        steps=steps,
        batch_size=batch_size,
        peak_rate=peak_rate,
        decay_share=decay_share,
        seed=seed,
        bfloat16=bfloat16,
        workers=workers,
    )
    training.ship("regressor.safetensors", kind=REGRESSOR_FORMAT, config=network.config.to_dict())
    processes.leave()


if __name__ == "__main__":
    typer.run(main)
