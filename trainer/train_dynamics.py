"""Train the dynamics: `python -m kinestream.trainer.train_dynamics CACHE.npz OUT.safetensors`.

CACHE is made by `kinestream.trainer.prepare.mocap`. The whole filter is trained, unrolled over simulated
observations with random frame rates, drops and noise, and over what the regressor said of rendered people
(`--recorded`, made by `kinestream.trainer.prepare.record_observations`): likelihood of its estimates and of
its forecasts up to half a second ahead, plus errors of the joints. Every step draws from a generator seeded
by (seed, step), so a run that was interrupted and resumed sees the same batches. Standard deviations are
calibrated at the end on the validation half of the held-out clips, and on other recorded people.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor

from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import PoseFlow, flow_fingerprint
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.dynamics.batches import MAX_LEAD_S, draw_batch, recorded_batch, simulated_batch
from kinestream.trainer.dynamics.clips import LatentClips, held_out_halves
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.rollout import Advance, advance, unroll, unrolled_losses
from kinestream.trainer.metrics import INTERVAL, INTERVAL_STDS
from kinestream.trainer.run_state import TrainingRun


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run.

    Attributes:
        dynamics: sizes.
        steps, batch, frames, learning_rate, weight_decay, warmup: optimisation.
        ema: decay of the weight average that is saved.
        seed: of weights, batches and noise.
    """

    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    steps: int = 3000
    batch: int = 96
    frames: int = 40
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    ema: float = 0.995
    seed: int = 0


@dataclass(frozen=True)
class Motions:
    """What to learn or measure on: clips whose observations are simulated, and recorded observations."""

    clips: LatentClips
    recorded: RecordedObservations | None = None


class Run:
    """The training of one set of dynamics: its state, and a step of it."""

    def __init__(
        self,
        motions: Motions,
        flow: PoseFlow,
        config: TrainConfig,
        folder: Path,
        *,
        start: LatentDynamics | None = None,
        step: Advance = advance,
    ) -> None:
        """Begin with random weights, or with those of ``start``, dynamics of the same size."""
        torch.manual_seed(config.seed)
        self.motions, self.flow, self.config, self._advance = motions, flow, config, step
        self.dynamics = LatentDynamics(config.dynamics, flow_id=flow_fingerprint(flow))
        if start is not None:
            self.dynamics.load_state_dict(start.state_dict())
        optimizer = torch.optim.AdamW(
            self.dynamics.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        recorded = 0 if motions.recorded is None else len(motions.recorded)
        settings = asdict(config) | {"flow": self.dynamics.flow_id, "recorded": recorded}
        self.state = TrainingRun(
            folder, self.dynamics, optimizer, average_decay=config.ema, settings=settings
        )

    def advance(self) -> dict[str, float]:
        """One optimisation step; returns the losses."""
        config, motions = self.config, self.motions
        rng = self.state.generator(config.seed)
        data = draw_batch(
            motions.clips, batch=config.batch, steps=config.frames, rng=rng, recorded=motions.recorded
        )
        losses = unrolled_losses(self.dynamics, self.flow, data, rng, step=self._advance)
        rate = self._rate()
        self.state.update(losses.total, learning_rate=rate)
        return losses.numbers() | {"rate": rate}

    def _rate(self) -> float:
        config, step = self.config, self.state.step
        warm = min(1.0, (step + 1) / config.warmup)
        fall = 0.5 * (1.0 + math.cos(math.pi * step / config.steps))
        return config.learning_rate * warm * (0.02 + 0.98 * fall)

    def averaged(self) -> LatentDynamics:
        """The dynamics with averaged weights, ready to use."""
        dynamics = LatentDynamics(self.config.dynamics, flow_id=self.dynamics.flow_id)
        dynamics.load_state_dict(self.state.average.module.state_dict())
        return dynamics.eval().requires_grad_(False)


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
    fit[1] = np.maximum(fit[1], 0)  # standard deviations must not shrink while nobody looks
    dynamics.std_scale.copy_(torch.from_numpy(np.repeat(fit, [size, 3, 3], axis=1)))


def train(
    run: Run,
    validation: Motions,
    *,
    stop_after: int | None = None,
    every: int = 100,
    console: Console | None = None,
) -> LatentDynamics:
    """Train to config.steps (or stop_after); returns the averaged dynamics.

    Args:
        run: what to train, in its folder; continued where the folder holds a checkpoint.
        validation: motions for measurements.
        stop_after: last step of this call, to train in parts.
        every: steps between measurements and checkpoints.
        console: where to report.
    """
    state, config = run.state, run.config
    state.resume()
    last = min(config.steps, stop_after or config.steps)
    while state.step < last:
        losses = run.advance()
        if state.step % 20 == 0:
            _tell(console, state.log(**losses))
        if state.step % every == 0 or state.step == last:
            scores = evaluate(run.averaged(), run.flow, validation, batch=config.batch, frames=config.frames)
            _tell(console, state.log(validation="mocap", **scores))
            state.save()
    return run.averaged()


def _tell(console: Console | None, record: dict[str, Any]) -> None:
    if console is not None:
        console.print(record, soft_wrap=True)


def main(
    cache: Annotated[Path, typer.Argument(help="Mocap cache made by kinestream.trainer.prepare.mocap.")],
    out: Annotated[Path, typer.Argument(help="Weights to write (.safetensors).")],
    flow: Annotated[Path | None, typer.Option(help="Pose flow; the shipped one by default.")] = None,
    init: Annotated[Path | None, typer.Option(help="Dynamics whose weights to start from.")] = None,
    steps: Annotated[int, typer.Option(help="Optimisation steps.")] = 3000,
    stop_after: Annotated[int | None, typer.Option(help="Stop (and write OUT) after this step.")] = None,
    batch: Annotated[int, typer.Option(help="Sequences a step.")] = 96,
    frames: Annotated[int, typer.Option(help="Frames a sequence.")] = 40,
    hidden: Annotated[int, typer.Option(help="Width of the recurrent cell.")] = 160,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Of weights, batches and noise.")] = 0,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="Recording of kinestream.trainer.prepare.record_observations to learn from as well."
        ),
    ] = None,
    recorded_validation: Annotated[
        Path | None, typer.Option(help="Recording of other people, to measure and calibrate on.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--run", help="Folder of checkpoint and log; default: beside OUT, as OUT.run."),
    ] = None,
    compiled: Annotated[
        bool, typer.Option(help="torch.compile the step: slow start, twice the pace.")
    ] = False,
) -> None:
    """Train the dynamics on CACHE and write their weights to OUT. Started again, it goes on from there."""
    console = Console()
    pose_flow, mocap = PoseFlow.load(flow), MocapCache.load(cache)
    halves = held_out_halves(list(mocap.clips(split="val")))
    motions, validation = (
        Motions(LatentClips(clips, pose_flow), None if path is None else RecordedObservations.load(path))
        for clips, path in ((list(mocap.clips(split="train")), recorded), (halves[0], recorded_validation))
    )
    config = TrainConfig(
        dynamics=DynamicsConfig(latent=pose_flow.dim, hidden=hidden),
        steps=steps, batch=batch, frames=frames, learning_rate=learning_rate, seed=seed,
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    run = Run(
        motions, pose_flow, config, folder or out.with_suffix(".run"),
        start=None if init is None else LatentDynamics.load(init),
        step=torch.compile(advance, dynamic=False) if compiled else advance,
    )  # fmt: skip
    dynamics = train(run, validation, stop_after=stop_after, console=console)
    calibrate(dynamics, validation)
    dynamics.save(out, notes={"step": str(run.state.step), "seed": str(seed)})


if __name__ == "__main__":
    typer.run(main)
