"""Train the dynamics: `python -m trainer.train_dynamics CACHE.npz OUT.safetensors`.

CACHE is made by `trainer.build_mocap`. The whole filter is trained, unrolled over simulated observations with
random frame rates, drops and noise: likelihood of its estimates and of its forecasts up to half a second
ahead, plus errors of the joints. Every step draws from a generator seeded by (seed, step), so a run that was
interrupted and resumed sees the same batches. Standard deviations are calibrated at the end on the validation
half of the held-out clips.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor

from tracker.latent.dynamics import DynamicsConfig, LatentDynamics, flow_fingerprint
from tracker.latent.flow import PoseFlow
from trainer.data.latent_clips import LatentClips, held_out_halves
from trainer.data.latent_noise import NoiseModel
from trainer.data.mocap_cache import MocapCache
from trainer.latent_rollout import MAX_LEAD_S, Advance, Batch, advance, draw_batch, unroll, unrolled_losses

INTERVAL = 0.9
INTERVAL_STDS = 1.6448536269514722
"""Half the width of a central 90 % interval of the normal distribution."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run.

    Attributes:
        dynamics: sizes.
        steps, batch, frames, learning_rate, weight_decay, warmup: optimisation.
        ema: decay of the weight average that is saved.
        seed: of weights, batches and noise.
        noise: measured noise that every other sequence has; None for noise of every kind only.
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
    noise: NoiseModel | None = None


class Run:
    """One training run: state, a step, checkpoints."""

    def __init__(
        self, clips: LatentClips, flow: PoseFlow, config: TrainConfig, *, step: Advance = advance
    ) -> None:
        torch.manual_seed(config.seed)
        self.clips, self.flow, self.config, self._advance = clips, flow, config, step
        self.dynamics = LatentDynamics(config.dynamics, flow_id=flow_fingerprint(flow))
        self.average = {name: value.clone() for name, value in self.dynamics.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.dynamics.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0

    def start_from(self, dynamics: LatentDynamics) -> None:
        """Take over the weights of other dynamics of the same size."""
        self.dynamics.load_state_dict(dynamics.state_dict())
        self.average = {name: value.clone() for name, value in self.dynamics.state_dict().items()}

    def advance(self) -> dict[str, float]:
        """One optimisation step; returns the losses."""
        config = self.config
        rate = config.learning_rate * self._schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng((config.seed, self.step))
        data = draw_batch(self.clips, batch=config.batch, steps=config.frames, rng=rng, measured=config.noise)
        losses = unrolled_losses(self.dynamics, self.flow, data, rng, step=self._advance)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.dynamics.parameters(), 5.0)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        self.step += 1
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.dynamics.state_dict().items():
            self.average[name].lerp_(value, 1.0 - decay)
        return losses.numbers() | {"gradient": float(norm), "rate": rate}

    def _schedule(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / config.warmup)
        return warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * self.step / config.steps)))

    def averaged(self) -> LatentDynamics:
        """The dynamics with averaged weights, ready to use."""
        dynamics = LatentDynamics(self.config.dynamics, flow_id=self.dynamics.flow_id)
        dynamics.load_state_dict(self.average)
        return dynamics.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write a checkpoint; it replaces the former one only once it is whole."""
        state = {
            "config": json.dumps(asdict(self.config)),
            "flow_id": self.dynamics.flow_id,
            "step": self.step,
            "dynamics": self.dynamics.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint; `ValueError` when it belongs to another configuration or flow."""
        state = torch.load(path, weights_only=True)
        found = (json.loads(state["config"]), state["flow_id"])
        if found != (json.loads(json.dumps(asdict(self.config))), self.dynamics.flow_id):
            raise ValueError(
                f"{path} was made with another configuration or flow: {found}; remove it to start anew"
            )
        self.step = state["step"]
        self.dynamics.load_state_dict(state["dynamics"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])


@torch.no_grad()
def evaluate(
    dynamics: LatentDynamics,
    flow: PoseFlow,
    clips: LatentClips,
    *,
    batch: int,
    frames: int,
    batches: int = 3,
    noise: NoiseModel | None = None,
) -> dict[str, float]:
    """Mean losses on fixed batches of clips."""
    rows = []
    for index in range(batches):
        rng = np.random.default_rng((99, index))
        data = draw_batch(clips, batch=batch, steps=frames, rng=rng, measured=noise)
        rows.append(unrolled_losses(dynamics, flow, data, rng).numbers())
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@torch.no_grad()
def calibrate(
    dynamics: LatentDynamics, clips: LatentClips, *, batches: int = 8, noise: NoiseModel | None = None
) -> None:
    """Set `std_scale` so that 90 % of the truth lies within +-1.645 published standard deviations.

    Per group of dimensions (latent, root, translation), linear in the lead.
    """
    ratios: list[Tensor] = []
    leads: list[Tensor] = []
    for index in range(batches):
        rng = np.random.default_rng((77, index))
        data: Batch = draw_batch(clips, batch=128, steps=40, rng=rng, measured=noise)
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
    dynamics.std_scale.copy_(torch.from_numpy(np.repeat(fit, [size, 3, 3], axis=1)))


def train(
    run: Run,
    validation: LatentClips,
    *,
    checkpoint: Path | None = None,
    stop_after: int | None = None,
    every: int = 100,
    console: Console | None = None,
) -> LatentDynamics:
    """Train to config.steps (or stop_after); returns the averaged dynamics.

    Args:
        run: what to train.
        validation: clips for measurements.
        checkpoint: resumed from when it exists, written every `every` steps and at the end; the history of
            measurements goes beside it as .history.jsonl.
        stop_after: last step of this call, to train in parts.
        every: steps between measurements.
        console: where to report.
    """
    if checkpoint is not None and checkpoint.exists():
        run.resume(checkpoint)
    config = run.config
    last = min(config.steps, stop_after or config.steps)
    started = time.perf_counter()
    while run.step < last:
        losses = run.advance()
        if console is not None and run.step % 20 == 0:
            elapsed = time.perf_counter() - started
            console.print(
                run.step, f"{elapsed:.0f} s", {k: round(v, 5) for k, v in losses.items()}, soft_wrap=True
            )
        if run.step % every == 0 or run.step == last:
            scores = evaluate(
                run.averaged(),
                run.flow,
                validation,
                batch=config.batch,
                frames=config.frames,
                noise=config.noise,
            )
            measured = {"step": run.step, **scores}
            if console is not None:
                console.print(measured, soft_wrap=True)
            if checkpoint is not None:
                run.save(checkpoint)
                with checkpoint.with_suffix(".history.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(measured) + "\n")
    return run.averaged()


def main(
    cache: Annotated[Path, typer.Argument(help="Mocap cache made by trainer.build_mocap.")],
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
    noise: Annotated[
        Path | None, typer.Option(help="Report of tools.bench.residuals: the regressor's noise.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint to resume from and write.")] = None,
    compiled: Annotated[
        bool, typer.Option(help="torch.compile the step: slow start, twice the pace.")
    ] = False,
) -> None:
    """Train the dynamics on CACHE and write their weights to OUT."""
    console = Console()
    pose_flow, mocap = PoseFlow.load(flow), MocapCache.load(cache)
    clips = LatentClips.from_cache(mocap, pose_flow, split="train")
    halves = held_out_halves(list(mocap.clips(split="val")))
    validation = LatentClips(halves[0], pose_flow)
    config = TrainConfig(
        dynamics=DynamicsConfig(latent=pose_flow.dim, hidden=hidden),
        steps=steps, batch=batch, frames=frames, learning_rate=learning_rate, seed=seed,
        noise=None if noise is None else NoiseModel.load(noise),
    )  # fmt: skip
    run = Run(clips, pose_flow, config, step=torch.compile(advance, dynamic=False) if compiled else advance)
    if init is not None:
        run.start_from(LatentDynamics.load(init))
    out.parent.mkdir(parents=True, exist_ok=True)
    path = checkpoint or out.with_suffix(".ckpt")
    dynamics = train(run, validation, checkpoint=path, stop_after=stop_after, console=console)
    calibrate(dynamics, validation, noise=config.noise)
    dynamics.save(out, notes={"step": str(run.step), "seed": str(seed)})


if __name__ == "__main__":
    typer.run(main)
