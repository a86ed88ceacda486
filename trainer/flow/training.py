"""Maximum likelihood of a pose flow: its batches, loss, validation and training.

Poses are an arc length apart, mirrored, and convolved with isotropic noise in the tangent (the density is
that of the pose plus noise: joints that never move in a capture would otherwise have infinite density).
Every step draws from a generator seeded by (seed, step), so a run that was interrupted and resumed, or
spread over processes, sees the same batches.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from kinestream.latent.coordinates import TangentCoordinates
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.trainer.data.motion.augment import perturb, swap_limbs
from kinestream.trainer.data.motion.augment import spread as spread_poses
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.mocap_folder import load_folder
from kinestream.trainer.data.motion.poses import load_poses, mean_rotations, with_mirrored
from kinestream.trainer.data.motion.variety import load_varied_poses
from kinestream.trainer.processes import Processes
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import cosine_decay, step_generator


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run."""

    flow: FlowConfig = field(default_factory=FlowConfig)
    noise_rad: float = 0.04  # standard deviation of the noise on each tangent coordinate
    step_rad: float = 0.05  # arc length between training poses
    swap: float = 0.25  # probability of each limb group to come from another pose
    spread: float = 0.3  # correlated noise, in standard deviations of the poses
    steps: int = 6000
    batch: int = 512  # sum over processes
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    ema: float = 0.998  # decay of the weight average that is saved
    seed: int = 0  # of weights, batches and noise


def draw_batch(poses: Tensor, factor: Tensor, config: TrainConfig, step: int) -> Tensor:
    """The batch of a step, (B, 21, 3, 3); factor is what `spread_factor` makes of the poses."""
    generator = step_generator(config.seed, step)
    index = torch.randint(len(poses), (config.batch,), generator=generator)
    batch = poses[index]
    if config.swap > 0:
        batch = swap_limbs(batch, config.swap, generator)
    if config.spread > 0:
        batch = spread_poses(batch, factor, config.spread, generator)
    return perturb(batch, config.noise_rad, generator)


def spread_factor(poses: Tensor) -> Tensor:
    """Cholesky factor (63, 63) of the covariance of poses (N, 21, 3, 3) in tangents at their means."""
    coordinates = TangentCoordinates(mean_rotations(poses))
    tangent = coordinates.encode(poses[:: max(1, len(poses) // 20000)])[0].double()
    factor: Tensor = torch.linalg.cholesky(torch.cov(tangent.T) + 1e-7 * torch.eye(tangent.shape[1]))
    return factor.float()


def make_flow(poses: Tensor, config: TrainConfig) -> PoseFlow:
    """A flow whose first layer whitens the (noisy) poses; the rest starts near the identity."""
    torch.manual_seed(config.seed)
    flow = PoseFlow(config.flow, mean_rotations(poses))
    generator = step_generator(config.seed, -1)
    some = poses[torch.randint(len(poses), (min(40000, 4 * len(poses)),), generator=generator)]
    some = perturb(some, config.noise_rad, generator)
    coordinates = flow.coordinates.encode(some)[0].double()
    covariance = torch.cov(coordinates.T) + 1e-6 * torch.eye(flow.dim, dtype=torch.float64)
    flow.layers[0].set_whitening(coordinates.mean(0), covariance)  # type: ignore[operator]
    return flow


@torch.no_grad()
def evaluate(flow: nn.Module, poses: Tensor, noise_rad: float, *, seed: int = 1234) -> dict[str, float]:
    """Held-out NLL in nats per pose, on noisy poses with fixed noise."""
    generator = torch.Generator().manual_seed(seed)
    log_prob = cast(PoseFlow, flow).log_prob
    parts = [log_prob(perturb(chunk, noise_rad, generator)) for chunk in torch.split(poses, 4096)]
    return {"nll": -float(torch.cat(parts).mean())}


def new_run(
    poses: Tensor,
    config: TrainConfig,
    folder: Path,
    *,
    init: Path | None = None,
    processes: Processes | None = None,
) -> TrainingRun:
    """The training of one flow on poses (N, 21, 3, 3), continued where the folder holds a checkpoint.

    It starts from the flow in the file ``init``, or from nothing. Raises ValueError where that has another
    architecture.
    """
    flow = make_flow(poses, config) if init is None else PoseFlow.load(init).train().requires_grad_()
    if flow.config != config.flow:
        raise ValueError(f"{init} holds a flow of {flow.config}; asked for was {config.flow}")
    decayed = [p for name, p in flow.named_parameters() if name.endswith("weight")]
    others = [p for name, p in flow.named_parameters() if not name.endswith("weight")]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    run = TrainingRun(
        folder, flow, optimizer, average_decay=config.ema, processes=processes, settings=asdict(config)
    )
    run.resume()
    return run


def train(run: TrainingRun, config: TrainConfig, poses: Tensor, val_poses: Tensor, **loop: Any) -> PoseFlow:
    """Train a `new_run` to the configured steps; returns the averaged flow. ``loop``: `TrainingRun.train`."""
    factor = spread_factor(poses)
    share = run.processes.share(config.batch)
    rows = slice(run.processes.rank * share, (run.processes.rank + 1) * share)

    def loss_of_step() -> tuple[Tensor, dict[str, Tensor]]:
        batch = draw_batch(poses, factor, config, run.step)
        return -cast(PoseFlow, run.network).log_prob(batch[rows]).mean(), {}

    run.train(
        loss_of_step,
        rate=lambda step: cosine_decay(
            step, peak=config.learning_rate, steps=config.steps, warmup=config.warmup
        ),
        steps=config.steps,
        validate=lambda average: {"mocap": evaluate(average, val_poses, config.noise_rad)},
        clip_norm=100.0,
        **loop,
    )
    flow: PoseFlow = run.averaged()
    return flow


def load_training_poses(mocap: Path, config: TrainConfig, work: Path) -> tuple[Tensor, Tensor]:
    """Training poses (drawn by variety, mirrored) and all validation poses of a mocap folder or cache."""
    cache = mocap
    if mocap.is_dir():
        cache = work / "mocap_cache.npz"
        if not cache.exists():
            MocapCache.from_clips(load_folder(mocap).clips).save(cache)
    poses = with_mirrored(load_varied_poses(cache, "train", step_rad=config.step_rad)[:, 1:])
    return poses, load_poses(cache, "val", step_rad=None)
