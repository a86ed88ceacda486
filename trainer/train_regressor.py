"""Train the regressor: `python -m kinestream.trainer.train_regressor --data DATA --run FOLDER --steps 20000`.

Regimes are mixed by weights: ``full`` (rendered people with exact bodies), ``weak`` (photos with machine
keypoints and silhouettes), ``self`` (photos and video without labels; the averaged network's answers on a
clean view are targets for a damaged one, and the latent dynamics tie frames together) and ``empty`` (no
person). A run goes on where its folder's checkpoint ends. Under `torchrun` the batch is split over processes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.latent.flow import PoseFlow
from kinestream.networks.weight_files import fill, read_weights, save_weights
from kinestream.regress.lifter import BodyState
from kinestream.regress.network import RegressorConfig, RegressorNetwork, RegressorOutput
from kinestream.regress.regressor import REGRESSOR_FORMAT
from kinestream.trainer.data.annotated.annotated import AnnotatedCrops
from kinestream.trainer.data.annotated.sets import annotated_people
from kinestream.trainer.data.batches import step_batches
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool, EmptyCrops
from kinestream.trainer.data.crops.crop_sample import CropBatch, CropSample, CropSource, MixedCrops, collate
from kinestream.trainer.data.photos.photos import FREE_PHOTO_SETS, PhotoCrops
from kinestream.trainer.data.photos.unlabelled import ViewBatch
from kinestream.trainer.losses.body import BodyLoss, BodyTarget
from kinestream.trainer.losses.keypoints import confidence_loss, correct_share, heatmap_loss, presence_loss
from kinestream.trainer.losses.parts import part_iou, part_loss
from kinestream.trainer.losses.weak import WeakLossWeights, weak_body_loss
from kinestream.trainer.processes import Processes
from kinestream.trainer.regressor.fine_tuning import rate_groups
from kinestream.trainer.regressor.self_regime import SelfRegime, matching_dynamics, unlabelled_views
from kinestream.trainer.run_state import TrainingRun, learning_rate
from kinestream.trainer.train_lifter import load_lifter

_logger = logging.getLogger(__name__)
EVALUATION_CROPS = 256
EVALUATION_RADIUS = 0.08


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of :func:`regressor_loss`."""

    heatmap: float = 1.0
    confidence: float = 0.2
    parts: float = 0.5
    presence: float = 0.1
    body: float = 0.5
    weak_body: float = 0.2
    temporal: float = 0.0
    weak: WeakLossWeights = field(default_factory=WeakLossWeights)


def regressor_loss(
    output: RegressorOutput,
    batch: CropBatch,
    body_loss: BodyLoss | None,
    targets: BodyTarget | None,
    weights: LossWeights | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total and named terms.

    Exact bodies are taught where ``targets`` (of the rows with a body) is given; people without one by
    reprojection (and part alignment, if it has a weight), where ``body_loss`` is.
    """
    weights = weights or LossWeights()
    terms = {
        "heatmap": heatmap_loss(output.heatmaps, batch.keypoints),
        "confidence": confidence_loss(output.confidence_logit, output.points, batch.keypoints, batch.known),
        "parts": part_loss(output.parts, batch.parts),
        "presence": presence_loss(output.presence_logit, batch.presence),
    }
    total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    if body_loss is not None and targets is not None:
        rows = BodyState(*[field[batch.has_body].float() for field in output.state])
        value, named = body_loss(rows, targets)
        total = total + weights.body * value
        terms |= {f"body_{name}": term for name, term in named.items()}
    weak = (batch.presence > 0) & ~batch.has_body
    if body_loss is not None and weak.any():
        value, named = weak_body_loss(
            body_loss,
            BodyState(*[field[weak].float() for field in output.state]),
            keypoints=batch.keypoints[weak],
            to_virtual=batch.to_virtual[weak],
            log_extent=batch.log_extent[weak],
            parts=batch.parts[weak],
            part_logits=output.parts[weak],
            weights=weights.weak,
        )
        total = total + weights.weak_body * value
        terms |= {f"weak_{name}": term for name, term in named.items()}
    return total, {name: value.detach() for name, value in terms.items()}


class Teacher:
    """Flow and body that make targets from exact bodies."""

    def __init__(self, flow_path: Path | None, device: torch.device | None = None) -> None:
        self.flow = PoseFlow.load(flow_path).eval().requires_grad_(False).to(device)
        self.body = BodyModel.load().to(device)
        self.loss = BodyLoss(self.flow, self.body)

    def targets(self, batch: CropBatch) -> BodyTarget | None:
        """Targets of the rows with a body; None where the batch has none."""
        rows = batch.has_body
        if not rows.any():
            return None
        return BodyTarget(
            self.flow,
            self.body,
            rotations=batch.rotations[rows],
            translation_m=batch.translation_m[rows],
            betas=batch.betas[rows],
            log_extent=batch.log_extent[rows],
        )


@torch.no_grad()
def evaluate(
    network: torch.nn.Module, samples: list[CropSample], teacher: Teacher | None
) -> dict[str, float]:
    """Keypoints, parts and joints of ``network`` on fixed crops."""
    network.eval()
    batch = collate(samples).to(next(network.parameters()).device)
    output: RegressorOutput = network(batch.images, batch.to_virtual, batch.log_extent)
    result = {
        "within_4_percent": float(correct_share(output.points, batch.keypoints, radius=EVALUATION_RADIUS)),
        "heatmap": float(heatmap_loss(output.heatmaps, batch.keypoints)),
        "part_iou": float(part_iou(output.parts, batch.parts)),
    }
    targets = teacher.targets(batch) if teacher else None
    if teacher and targets:
        state = BodyState(*[field[batch.has_body] for field in output.state])
        _, terms = teacher.loss(state, targets)
        result |= {"mpjpe_mm": 1000 * float(terms["joints"])}
    return result


def train(
    *,
    sources: CropSource,
    validation: dict[str, list[CropSample]],
    run: TrainingRun,
    teacher: Teacher | None,
    steps: int,
    batch_size: int,
    peak_rate: float,
    warmup: int = 300,
    decay_share: float = 0.25,
    seed: int = 0,
    stop_after: int | None = None,
    bfloat16: bool = True,
    workers: int = 0,
    log_every: int = 50,
    evaluate_every: int = 500,
    weights: LossWeights | None = None,
    unlabelled: SelfRegime | None = None,
) -> None:
    """Run until ``steps`` (or pause at ``stop_after``), with a checkpoint and an evaluation now and then.

    It runs where the network is; on a GPU, give enough ``workers`` to feed it. ``batch_size`` counts the
    crops of all processes, the unlabelled ones included.
    """
    device = next(run.network.parameters()).device
    last = min(steps, stop_after or steps)
    weights = weights or LossWeights()
    size = run.processes.share(batch_size)
    steps_of = {"first": run.step, "last": last, "seed": seed * run.processes.world + run.processes.rank}
    views_of_steps: Iterator[ViewBatch] = iter(())
    if unlabelled is not None:
        views_of_steps = unlabelled.batches(size, workers=workers, **steps_of)
        size = max(1, size - unlabelled.sequences(size) * unlabelled.frames)
    for batch in step_batches(sources, size, workers=workers, **steps_of):
        batch = batch.to(device)
        if unlabelled is not None:
            views = next(views_of_steps).to(device)
            batch = unlabelled.extended(batch, views, run.average.module)
        targets = teacher.targets(batch) if teacher else None
        run.network.train()
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            output = run.network(images, batch.to_virtual, batch.log_extent)
        loss, terms = regressor_loss(output, batch, teacher.loss if teacher else None, targets, weights)
        if unlabelled is not None and weights.temporal > 0:
            terms["temporal"] = unlabelled.temporal(output, views)
            loss = loss + weights.temporal * terms["temporal"]
        rate = learning_rate(run.step, peak=peak_rate, steps=steps, warmup=warmup, decay_share=decay_share)
        run.update(loss, learning_rate=rate)
        if run.step % log_every == 0:
            _logger.info("%s", run.log(loss=loss.detach(), rate=rate, **terms))
        if run.processes.first and (run.step % evaluate_every == 0 or run.step == steps):
            for name, samples in validation.items():
                _logger.info("%s", run.log(validation=name, **evaluate(run.average.module, samples, teacher)))
            run.save()


def crop_sources(
    data: Path,
    pools: list[Path],
    *,
    crop_px: int,
    full: float,
    weak: float,
    empty: float,
    photos: Sequence[str] = FREE_PHOTO_SETS,
) -> tuple[CropSource, dict[str, list[CropSample]]]:
    """The training mix, and fixed validation crops by name. Pools hold ``train`` and maybe ``val``."""
    backdrops = Backdrops.load(data / "backgrounds" / "hdri")
    validation: dict[str, list[CropSample]] = {}
    rendered = [CropPool(pool / "train", backdrops, crop_px=crop_px) for pool in pools]
    nobody = EmptyCrops(backdrops, crop_px=crop_px, people=rendered[0] if rendered else None)
    mix: list[tuple[CropSource, float]] = [(nobody, empty)]
    people = sum(len(pool) for pool in rendered)
    mix += [(pool, full * len(pool) / people) for pool in rendered]
    for pool in pools:
        if (pool / "val").exists():
            validation["rendered"] = _fixed(CropPool(pool / "val", backdrops, crop_px=crop_px))
    sets = [PhotoCrops.load(data, name, crop_px=crop_px, backdrops=backdrops) for name in photos]
    total = sum(len(entry) for entry in sets)
    mix += [(entry, weak * len(entry) / total) for entry in sets]
    held_out = [PhotoCrops.load(data, name, crop_px=crop_px, split="val") for name in photos]
    validation["photos"] = _fixed(MixedCrops([(entry, len(entry)) for entry in held_out]))
    return MixedCrops(mix), validation


def _fixed(source: CropSource) -> list[CropSample]:
    rng = np.random.default_rng(12345)
    return [source.sample(rng) for _ in range(EVALUATION_CROPS)]


def main(
    run: Annotated[Path, typer.Option(help="folder of the run: checkpoint, log, weights")],
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="data folder")],
    pool: Annotated[
        list[Path] | None, typer.Option(help="folder with crop pools train/ and val/; repeatable")
    ] = None,
    photos: Annotated[
        list[str] | None, typer.Option(help="photo sets (DATA/images, DATA/pseudo); repeatable")
    ] = None,
    flow: Annotated[Path | None, typer.Option(help="pose flow; default: the shipped one")] = None,
    latent_size: Annotated[int, typer.Option(help="of the flow")] = 63,
    backbone: str = "medium",
    crop_px: Annotated[int, typer.Option(help="may differ between runs of one training")] = 192,
    body: Annotated[bool, typer.Option(help="train the latent head too (needs the flow)")] = True,
    init: Annotated[Path | None, typer.Option(help="weights to start from")] = None,
    lifter: Annotated[Path | None, typer.Option(help="weights of a trained lifter to start from")] = None,
    full: float = 0.6,
    weak: float = 0.35,
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
    peak_rate: float = 2e-3,
    trunk_rate: Annotated[
        float, typer.Option(help="rate of what starts trained over that of the rest")
    ] = 1.0,
    frozen_stages: Annotated[int, typer.Option(help="first stages of the trunk that keep their weights")] = 0,
    decay_share: float = 0.25,
    seed: int = 0,
    threads: int = 1,
    workers: Annotated[int, typer.Option(help="processes that make batches; 0: this one")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    bfloat16: bool = True,
) -> None:
    """Train, then write ``regressor.safetensors`` (averaged weights) into the run's folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    torch.manual_seed(seed)
    network = RegressorNetwork(RegressorConfig(latent_size=latent_size, backbone=backbone, crop_px=crop_px))
    if init is not None:
        fill(network, read_weights(init, kind=REGRESSOR_FORMAT)[1], path=init)
    if lifter is not None:
        load_lifter(network.head, lifter)
    processes = Processes.join(cuda=device.startswith("cuda"))
    place = processes.device(device)
    network = network.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    started = (network.backbone, network.pyramid, network.dense.keypoints, network.head.lifter)
    groups = rate_groups(network, started, started_rate=trunk_rate, frozen_stages=frozen_stages)
    optimizer = torch.optim.AdamW(groups, lr=peak_rate, weight_decay=1e-2)
    state = TrainingRun(run, network, optimizer, processes=processes)
    if state.resume():
        _logger.info("going on at step %d", state.step)
    config = network.config
    mix, validation = crop_sources(
        data,
        pool or [],
        crop_px=config.crop_px,
        full=full,
        weak=weak,
        empty=empty,
        photos=photos or FREE_PHOTO_SETS,
    )
    teacher = Teacher(flow, place) if body else None
    regime: SelfRegime | None = None
    if self_share > 0:
        dynamics = matching_dynamics(teacher.flow, place) if teacher and temporal > 0 else None
        views = unlabelled_views(unlabelled or [], labels, crop_px=config.crop_px, frames=frames)
        regime = SelfRegime(views, self_share, frames, dynamics)
    if annotated:
        people = [person for spec in annotated for person in annotated_people(spec)]
        human = AnnotatedCrops(people, crop_px=config.crop_px)
        mix = MixedCrops([(mix, 1 - annotated_share), (human, annotated_share)])
    train(
        sources=mix,
        validation=validation,
        run=state,
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
    if processes.first:
        save_weights(
            run / "regressor.safetensors",
            state.average.module.cpu(),
            kind=REGRESSOR_FORMAT,
            config=config.to_dict(),
            notes={"steps": str(state.step)},
        )
    processes.leave()


if __name__ == "__main__":
    typer.run(main)
