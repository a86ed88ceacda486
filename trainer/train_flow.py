"""Train the pose flow, on one process or under torchrun.

    python -m kinestream.trainer.train_flow MOCAP OUT.safetensors

MOCAP is a mocap folder or a cache made by `kinestream.trainer.prepare.mocap`. Maximum likelihood on poses
that are an arc length apart, mirrored, and convolved with isotropic noise in the tangent (the density is
that of the pose plus noise: joints that never move in a capture would otherwise have infinite density).
Every step draws from a generator seeded by (seed, step), so a run that was interrupted and resumed, or
spread over processes, sees the same batches.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import Progress
from torch import Tensor

from kinestream.latent.coordinates import SixDCoordinates, TangentCoordinates
from kinestream.latent.flow import FlowConfig, PoseFlow, standard_normal_log_prob
from kinestream.trainer.data.motion.augment import perturb, swap_limbs
from kinestream.trainer.data.motion.augment import spread as spread_poses
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.mocap_folder import load_folder
from kinestream.trainer.data.motion.poses import load_poses, mean_rotations, with_mirrored
from kinestream.trainer.processes import Processes
from kinestream.trainer.run_state import TrainingRun


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run.

    Attributes:
        flow: architecture.
        noise_rad: standard deviation of the noise on each tangent coordinate.
        step_rad: arc length between training poses.
        swap: probability of each limb group to come from another pose (see
            `kinestream.trainer.data.motion.augment`). spread: correlated noise, in standard deviations of
            the poses. steps, batch, learning_rate, weight_decay, warmup: optimisation; batch is the sum
            over processes. ema: decay of the weight average that is saved. seed: of weights, batches and
            noise.
    """

    flow: FlowConfig = field(default_factory=FlowConfig)
    noise_rad: float = 0.04
    step_rad: float = 0.05
    swap: float = 0.25
    spread: float = 0.3
    steps: int = 6000
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    ema: float = 0.998
    seed: int = 0


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step: the same in every process and after every resume."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFFFFFF)


def draw_batch(poses: Tensor, factor: Tensor, config: TrainConfig, step: int) -> tuple[Tensor, Tensor]:
    """The batch of a step, (B, 21, 3, 3), and standard normal noise (B, 21, 3) for scaled 6D coordinates.

    factor is what `spread_factor` makes of the poses.
    """
    generator = step_generator(config.seed, step)
    index = torch.randint(len(poses), (config.batch,), generator=generator)
    batch = poses[index]
    if config.swap > 0:
        batch = swap_limbs(batch, config.swap, generator)
    if config.spread > 0:
        batch = spread_poses(batch, factor, config.spread, generator)
    batch = perturb(batch, config.noise_rad, generator)
    return batch, torch.randn(*batch.shape[:-2], 3, generator=generator)


def spread_factor(poses: Tensor) -> Tensor:
    """Cholesky factor (63, 63) of the covariance of poses (N, 21, 3, 3) in tangents at their means."""
    coordinates = TangentCoordinates(mean_rotations(poses))
    tangent = coordinates.encode(poses[:: max(1, len(poses) // 20000)])[0].double()
    factor: Tensor = torch.linalg.cholesky(torch.cov(tangent.T) + 1e-7 * torch.eye(tangent.shape[1]))
    return factor.float()


def negative_log_likelihood(flow: PoseFlow, rotations: Tensor, noise: Tensor) -> Tensor:
    """-log p of poses in nats, (B,); an upper bound's estimate for 6D coordinates."""
    if isinstance(flow.coordinates, SixDCoordinates):
        coordinates, log_volume = flow.coordinates.encode(rotations, noise=noise)
        latent, log_det = flow.to_latent(coordinates)
        return -(standard_normal_log_prob(latent) + log_det + log_volume)
    return -flow.log_prob(rotations)


def make_flow(poses: Tensor, config: TrainConfig) -> PoseFlow:
    """A flow whose first layer whitens the (noisy) poses; the rest starts near the identity."""
    torch.manual_seed(config.seed)
    flow = PoseFlow(config.flow, mean_rotations(poses))
    generator = step_generator(config.seed, -1)
    some = poses[torch.randint(len(poses), (min(40000, 4 * len(poses)),), generator=generator)]
    some = perturb(some, config.noise_rad, generator)
    if isinstance(flow.coordinates, SixDCoordinates):
        noise = torch.randn(*some.shape[:-2], 3, generator=generator)
        coordinates = flow.coordinates.encode(some, noise=noise)[0].double()
    else:
        coordinates = flow.coordinates.encode(some)[0].double()
    covariance = torch.cov(coordinates.T) + 1e-6 * torch.eye(flow.dim, dtype=torch.float64)
    flow.layers[0].set_whitening(coordinates.mean(0), covariance)  # type: ignore[operator]
    return flow


@torch.no_grad()
def evaluate(flow: PoseFlow, poses: Tensor, noise_rad: float, *, seed: int = 1234) -> dict[str, float]:
    """Held-out NLL in nats per pose, on noisy poses with fixed noise."""
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for chunk in torch.split(poses, 4096):
        noisy = perturb(chunk, noise_rad, generator)
        noise = torch.randn(*noisy.shape[:-2], 3, generator=generator)
        losses.append(negative_log_likelihood(flow, noisy, noise))
    return {"nll": float(torch.cat(losses).mean())}


class Run:
    """The training of one flow: its state, and a step of it."""

    def __init__(
        self, poses: Tensor, config: TrainConfig, folder: Path, *, processes: Processes | None = None
    ) -> None:
        self.poses, self.config = poses, config
        self.processes = processes or Processes()
        self._share = self.processes.share(config.batch)
        self.flow = make_flow(poses, config)
        self.factor = spread_factor(poses)
        decayed = [p for name, p in self.flow.named_parameters() if name.endswith("weight")]
        others = [p for name, p in self.flow.named_parameters() if not name.endswith("weight")]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )
        self.state = TrainingRun(
            folder, self.flow, optimizer,
            average_decay=config.ema, processes=self.processes, settings=asdict(config),
        )  # fmt: skip

    def advance(self) -> float:
        """One optimisation step; returns this process's loss in nats."""
        batch, noise = draw_batch(self.poses, self.factor, self.config, self.state.step)
        rows = slice(self.processes.rank * self._share, (self.processes.rank + 1) * self._share)
        loss = negative_log_likelihood(self.flow, batch[rows], noise[rows]).mean()
        self.state.update(loss, learning_rate=self._rate(), clip_norm=100.0)
        return float(loss.detach())

    def _rate(self) -> float:
        config, step = self.config, self.state.step
        warm = min(1.0, (step + 1) / config.warmup)
        return config.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * step / config.steps))

    def averaged(self) -> PoseFlow:
        """The flow with averaged weights, ready to use."""
        flow = PoseFlow(self.config.flow)
        flow.load_state_dict(self.state.average.module.state_dict())
        return flow.eval().requires_grad_(False)


def train(
    run: Run, val_poses: Tensor, *, stop_after: int | None = None, every: int = 500
) -> tuple[PoseFlow, list[dict[str, Any]]]:
    """Train to the configured steps (or ``stop_after``); returns averaged flow and history of measurements.

    Args:
        run: what to train, in its folder; continued where the folder holds a checkpoint.
        val_poses: (N, 21, 3, 3) held out.
        stop_after: last step of this call, to train in parts.
        every: steps between measurements and checkpoints.
    """
    state, config = run.state, run.config
    state.resume()
    last = min(config.steps, stop_after or config.steps)
    with Progress(transient=True, disable=not run.processes.first) as progress:
        task = progress.add_task("flow", total=config.steps, completed=state.step)
        losses: list[float] = []
        while state.step < last:
            losses.append(run.advance())
            progress.advance(task)
            if state.step % every == 0 or state.step == last:
                measured = evaluate(run.averaged(), val_poses, config.noise_rad)
                progress.console.print(state.log(train_nll=sum(losses) / len(losses), **measured))
                losses.clear()
                state.save()
    return run.averaged(), state.history("nll")


def load_training_poses(mocap: Path, config: TrainConfig, work: Path) -> tuple[Tensor, Tensor]:
    """Training poses (mirrored) and all validation poses of a mocap folder or cache."""
    cache = mocap
    if mocap.is_dir():
        cache = work / "mocap_cache.npz"
        if not cache.exists():
            MocapCache.from_clips(load_folder(mocap).clips).save(cache)
    poses = with_mirrored(load_poses(cache, "train", step_rad=config.step_rad))
    return poses, load_poses(cache, "val", step_rad=None)


def main(
    mocap: Annotated[
        Path, typer.Argument(help="Mocap folder, or a cache made by kinestream.trainer.prepare.mocap.")
    ],
    out: Annotated[
        Path, typer.Argument(help="Weights to write (.safetensors); metrics go beside them as .json.")
    ],
    kind: Annotated[str, typer.Option(help="realnvp or light.")] = "realnvp",
    coordinates: Annotated[str, typer.Option(help="tangent or sixd.")] = "tangent",
    depth: Annotated[int, typer.Option(help="Couplings, or PReLU layers.")] = 8,
    hidden: Annotated[int, typer.Option(help="Width of the couplings' networks.")] = 128,
    steps: Annotated[int, typer.Option(help="Optimisation steps.")] = 6000,
    batch: Annotated[int, typer.Option(help="Poses a step, over all processes.")] = 512,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="AdamW's, on network weights.")] = 1e-4,
    noise_rad: Annotated[float, typer.Option(help="Noise on the poses.")] = 0.04,
    step_rad: Annotated[float, typer.Option(help="Arc length between training poses.")] = 0.05,
    swap: Annotated[float, typer.Option(help="Probability of a limb to come from another pose.")] = 0.25,
    spread: Annotated[float, typer.Option(help="Correlated noise in standard deviations.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of weights, batches and noise.")] = 0,
    run: Annotated[
        Path | None, typer.Option(help="Folder of checkpoint and log; default: beside OUT, as OUT.run.")
    ] = None,
) -> None:
    """Train a pose flow on MOCAP and write its weights to OUT. Started again, it goes on from there."""
    flow_config = FlowConfig(kind=kind, coordinates=coordinates, depth=depth, hidden=hidden)  # type: ignore[arg-type]
    config = TrainConfig(
        flow=flow_config, noise_rad=noise_rad, step_rad=step_rad, swap=swap, spread=spread, steps=steps,
        batch=batch, learning_rate=learning_rate, weight_decay=weight_decay, seed=seed,
    )  # fmt: skip
    processes = Processes.join()
    out.parent.mkdir(parents=True, exist_ok=True)
    with processes.one_first():  # the first builds the cache
        poses, val_poses = load_training_poses(mocap, config, out.parent)
    training = Run(poses, config, run or out.with_suffix(".run"), processes=processes)
    flow, history = train(training, val_poses)
    if processes.first:
        metrics: dict[str, Any] = {
            "config": asdict(config), "processes": processes.world, "train_poses": len(poses),
            "val_poses": len(val_poses), "history": history,
        }  # fmt: skip
        out.with_suffix(".json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        if coordinates == "tangent":
            flow.set_reference(val_poses)
        flow.save(out, half=True)
    processes.leave()


if __name__ == "__main__":
    typer.run(main)
