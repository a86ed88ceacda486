"""The regressor's loss, its validation and its training, over all regimes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kinestream.networks.interface import BodyState, RegressorOutput
from kinestream.trainer.data.batches import step_batches
from kinestream.trainer.data.crops.crop_sample import CropBatch, CropSample, CropSource, collate
from kinestream.trainer.data.photos.unlabelled import ViewBatch
from kinestream.trainer.losses.alignment import part_targets
from kinestream.trainer.losses.keypoints import (
    confidence_loss,
    correct_share,
    heatmap_loss,
    presence_loss,
    taught_loss,
)
from kinestream.trainer.losses.parts import part_iou, part_loss
from kinestream.trainer.losses.weak import WeakLossWeights, weak_body_loss
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.self_regime import SelfRegime
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import linear_decay

EVALUATION_RADIUS = 0.08


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of :func:`regressor_loss`."""

    heatmap: float = 1.0
    taught: float = 1.0
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
    teacher: BodyTeacher | None,
    weights: LossWeights | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total and named terms.

    With a ``teacher``, exact bodies are taught where the batch has them, and other people by reprojection
    (and by part alignment, if it has a weight).
    """
    weights = weights or LossWeights()
    terms = {
        "heatmap": heatmap_loss(output.heatmaps, batch.keypoints),
        "taught": taught_loss(output.heatmaps, batch.taught),
        "confidence": confidence_loss(output.confidence_logit, output.points, batch.keypoints, batch.known),
        "parts": part_loss(output.parts, batch.parts),
        "presence": presence_loss(output.presence_logit, batch.presence),
    }
    total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    if teacher is not None and batch.has_body.any():
        rows = BodyState(*[field[batch.has_body].float() for field in output.state])
        value, named = teacher.loss(rows, teacher.targets(batch, batch.has_body))
        total = total + weights.body * value
        terms |= {f"body_{name}": term for name, term in named.items()}
    weak = (batch.presence > 0) & ~batch.has_body
    if teacher is not None and weak.any():
        value, named = weak_body_loss(
            teacher.loss,
            BodyState(*[field[weak].float() for field in output.state]),
            keypoints=batch.keypoints[weak],
            to_virtual=batch.to_virtual[weak],
            log_extent=batch.log_extent[weak],
            parts=part_targets(batch.parts[weak], output.parts[weak]),
            weights=weights.weak,
        )
        total = total + weights.weak_body * value
        terms |= {f"weak_{name}": term for name, term in named.items()}
    return total, {name: value.detach() for name, value in terms.items()}


@torch.no_grad()
def evaluate(
    network: torch.nn.Module, samples: list[CropSample], teacher: BodyTeacher | None
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
    if teacher and batch.has_body.any():
        state = BodyState(*[field[batch.has_body] for field in output.state])
        _, terms = teacher.loss(state, teacher.targets(batch, batch.has_body))
        result |= {"mpjpe_mm": 1000 * float(terms["joints"])}
    return result


def train(
    *,
    sources: CropSource,
    validation: dict[str, list[CropSample]],
    run: TrainingRun,
    teacher: BodyTeacher | None,
    steps: int,
    batch_size: int,
    peak_rate: float,
    warmup: int = 300,
    decay_share: float = 0.25,
    seed: int = 0,
    stop_after: int | None = None,
    bfloat16: bool = True,
    workers: int = 0,
    weights: LossWeights | None = None,
    unlabelled: SelfRegime | None = None,
    **loop: Any,
) -> None:
    """Train where the network is; on a GPU, give enough ``workers`` to feed it.

    ``batch_size`` counts the crops of all processes, the unlabelled ones included; ``loop`` are further
    options of `TrainingRun.train`.
    """
    device = next(run.network.parameters()).device
    weights = weights or LossWeights()
    size = run.processes.share(batch_size)
    steps_of = {
        "first": run.step,
        "last": min(steps, stop_after or steps),
        "seed": seed * run.processes.world + run.processes.rank,
    }
    views_of_steps: Iterator[ViewBatch] = iter(())
    if unlabelled is not None:
        views_of_steps = unlabelled.batches(size, workers=workers, **steps_of)
        size = max(1, size - unlabelled.sequences(size) * unlabelled.frames)
    batches = step_batches(sources, size, collate=collate, workers=workers, **steps_of)

    def loss_of_step() -> tuple[Tensor, dict[str, Tensor]]:
        batch = next(batches).to(device)
        if unlabelled is not None:
            views = next(views_of_steps).to(device)
            batch = unlabelled.extended(batch, views, run.average.module)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            output = run.network(images, batch.to_virtual, batch.log_extent)
        loss, terms = regressor_loss(output, batch, teacher, weights)
        if unlabelled is not None and weights.temporal > 0:
            terms["temporal"] = unlabelled.temporal(output, views)
            loss = loss + weights.temporal * terms["temporal"]
        return loss, terms

    run.train(
        loss_of_step,
        rate=lambda step: linear_decay(
            step, peak=peak_rate, steps=steps, warmup=warmup, decay_share=decay_share
        ),
        steps=steps,
        stop_after=stop_after,
        validate=lambda average: {
            name: evaluate(average, samples, teacher) for name, samples in validation.items()
        },
        **loop,
    )
