"""The learned filter's training: configuration, loop, validation, and the calibration at its end."""

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import PoseFlow, flow_fingerprint
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.dynamics.annealing import Annealing, minimise
from kinestream.trainer.dynamics.batches import MAX_LEAD_S, draw_batch, recorded_batch, simulated_batch
from kinestream.trainer.dynamics.clips import LatentClips, held_out_halves
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.rollout import Advance, Losses, advance, unroll, unrolled_losses
from kinestream.trainer.metrics import INTERVAL, INTERVAL_STDS
from kinestream.trainer.run_state import TrainingRun


@dataclass(frozen=True)
class TrainConfig(Annealing):
    """Everything that determines a training run."""

    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)


@dataclass(frozen=True)
class Motions:
    """What to learn or measure on: clips whose observations are simulated, and recorded observations."""

    clips: LatentClips
    recorded: RecordedObservations | None = None

    @classmethod
    def load(
        cls,
        cache: Path,
        flow: PoseFlow,
        recorded: list[Path] | None = None,
        recorded_validation: list[Path] | None = None,
    ) -> "tuple[Motions, Motions]":
        """To learn from, and to validate on: the validation half of the held-out clips."""
        mocap = MocapCache.load(cache)
        halves = held_out_halves(list(mocap.clips(split="val")))
        chosen = ((list(mocap.clips(split="train")), recorded), (halves[0], recorded_validation))
        first, second = (
            cls(LatentClips(clips, flow), RecordedObservations.load_all(paths) if paths else None)
            for clips, paths in chosen
        )
        return first, second


def new_run(
    motions: Motions, flow: PoseFlow, config: TrainConfig, folder: Path, *, init: LatentDynamics | None = None
) -> TrainingRun:
    """The training of one set of dynamics, continued where the folder holds a checkpoint.

    It begins with random weights, or with those of ``init``, dynamics of the same size.
    """
    torch.manual_seed(config.seed)
    dynamics = LatentDynamics(config.dynamics, flow_id=flow_fingerprint(flow))
    if init is not None:
        dynamics.load_state_dict(init.state_dict())
    optimizer = torch.optim.AdamW(
        dynamics.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    recorded = 0 if motions.recorded is None else len(motions.recorded)
    settings = asdict(config) | {"flow": dynamics.flow_id, "recorded": recorded}
    run = TrainingRun(folder, dynamics, optimizer, average_decay=config.ema, settings=settings)
    run.resume()
    return run


def train(
    run: TrainingRun,
    config: TrainConfig,
    flow: PoseFlow,
    motions: Motions,
    validation: Motions,
    *,
    step: Advance = advance,
    **loop: Any,
) -> LatentDynamics:
    """Train a `new_run` to the configured steps; returns the averaged dynamics.

    ``step`` may be a compiled `advance`; ``loop`` are options of `TrainingRun.train`.
    """

    def losses(dynamics: LatentDynamics, rng: np.random.Generator) -> Losses:
        data = draw_batch(
            motions.clips, batch=config.batch, steps=config.frames, rng=rng, recorded=motions.recorded
        )
        return unrolled_losses(dynamics, flow, data, rng, step=step)

    def figures(dynamics: LatentDynamics) -> dict[str, float]:
        return evaluate(dynamics, flow, validation, batch=config.batch, frames=config.frames)

    return minimise(run, config, losses, figures, **loop)


@torch.no_grad()
def evaluate(
    dynamics: LatentDynamics, flow: PoseFlow, motions: Motions, *, batch: int, frames: int, batches: int = 3
) -> dict[str, float]:
    """Mean losses on fixed batches of simulated observations, and of recorded ones as ``recorded_...``."""
    rows = []
    for index in range(batches):
        rng = np.random.default_rng((99, index))
        data = simulated_batch(motions.clips, batch=batch, steps=frames, rng=rng)
        row = unrolled_losses(dynamics, flow, data, rng).numbers()
        if motions.recorded is not None:
            data = recorded_batch(motions.recorded, batch=batch, steps=frames, rng=rng)
            found = unrolled_losses(dynamics, flow, data, rng).numbers()
            row |= {f"recorded_{name}": value for name, value in found.items()}
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@torch.no_grad()
def calibrate(dynamics: LatentDynamics, motions: Motions, *, batches: int = 8) -> None:
    """Set `std_scale` so that 90 % of the truth lies within +-1.645 published standard deviations.

    Per group of dimensions (latent, root, translation), linear in the lead.
    """
    ratios: list[Tensor] = []
    leads: list[Tensor] = []
    for index in range(batches):
        rng = np.random.default_rng((77, index))
        data = draw_batch(motions.clips, batch=128, steps=40, rng=rng, recorded=motions.recorded)
        for lead, error, variance, valid in unroll(dynamics, data).residuals(data):
            ratios.append((error.abs() / variance.sqrt())[valid])
            leads.append(lead[valid])
    ratio, lead = torch.cat(ratios), torch.cat(leads)
    size = dynamics.config.latent
    centers, scales = [], []
    edges = torch.tensor([-1.0, 1e-6, 0.1, 0.2, 0.3, 0.4, MAX_LEAD_S])
    for low, high in pairwise(edges):
        inside = (lead > low) & (lead <= high)
        centers.append(float(lead[inside].mean()))
        scales.append(
            [
                float(np.quantile(ratio[inside][:, group].numpy(), INTERVAL)) / INTERVAL_STDS
                for group in (slice(0, size), slice(size, size + 3), slice(size + 3, size + 6))
            ]
        )
    fit = np.polynomial.polynomial.polyfit(centers, scales, 1)  # (2, 3): offset and slope of each group
    fit[1] = np.maximum(fit[1], 0)  # standard deviations must not shrink without observations
    dynamics.std_scale.copy_(torch.from_numpy(np.repeat(fit, [size, 3, 3], axis=1)))
