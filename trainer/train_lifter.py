"""Train the lifter on motion capture alone.

    python -m kinestream.trainer.train_lifter --mocap CACHE --run FOLDER

Writes ``lifter.safetensors``, from which `kinestream.trainer.train_regressor --lifter` starts.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_sixd
from kinestream.latent.flow import PoseFlow
from kinestream.networks.weight_files import fill, read_weights, save_weights
from kinestream.regress.lifter import BodyState, Lifter, split_state
from kinestream.regress.regressor import load_network
from kinestream.regress.state_head import StateHead
from kinestream.trainer.data.crops.lift_samples import LiftBatch, lift_samples
from kinestream.trainer.data.motion.poses import load_poses, with_mirrored
from kinestream.trainer.losses.body import BodyLoss, BodyTarget
from kinestream.trainer.metrics import aligned_error
from kinestream.trainer.run_state import TrainingRun, learning_rate

_logger = logging.getLogger(__name__)
LIFTER_FORMAT = "kinestream.lifter.v1"
EVALUATION_SAMPLES = 2048


def rooted_poses(cache: Path, split: str) -> Tensor:
    """Poses with the root (N, 22, 3, 3) of a split, 0.05 rad of motion apart, with their mirror images."""
    return with_mirrored(load_poses(cache, split, step_rad=0.05, root=True))


class LifterTrainer:
    """Lifter, flow and body together: loss and metrics of a batch."""

    def __init__(self, lifter: Lifter, flow: PoseFlow, body: BodyModel) -> None:
        self.lifter, self.flow, self.body = lifter, flow, body
        self.loss = BodyLoss(flow, body)

    def target(self, batch: LiftBatch) -> BodyTarget:
        """Targets of a batch."""
        return BodyTarget(
            self.flow,
            self.body,
            rotations=batch.rotations,
            translation_m=batch.translation_m,
            betas=batch.betas,
            log_extent=batch.log_extent,
        )

    def state(self, lifter: torch.nn.Module, batch: LiftBatch) -> BodyState:
        """The lifter's answer."""
        _, flat = lifter(batch.points, batch.confidence, batch.log_extent)
        return split_state(flat, self.lifter.latent_size)

    @torch.no_grad()
    def evaluate(self, lifter: torch.nn.Module, batch: LiftBatch) -> dict[str, float]:
        """Mean errors in millimetres: root-aligned (MPJPE) and after a similarity (PA-MPJPE)."""
        lifter.eval()
        target = self.target(batch)
        state = self.state(lifter, batch)
        _, terms = self.loss(state, target)
        joints, _, _ = self.loss.posed(state, matrix_from_sixd(state.root_sixd), batch.log_extent)
        aligned = aligned_error(joints.numpy(), target.joints_m.numpy()).mean()
        return {"mpjpe_mm": 1000 * float(terms["joints"]), "pa_mpjpe_mm": 1000 * float(aligned)} | {
            name: float(value) for name, value in terms.items()
        }


def train(
    trainer: LifterTrainer,
    run: TrainingRun,
    poses: Tensor,
    validation: LiftBatch,
    *,
    steps: int,
    batch_size: int,
    peak_rate: float,
    seed: int = 0,
    stop_after: int | None = None,
    log_every: int = 200,
    evaluate_every: int = 1000,
) -> None:
    """Run until ``steps`` (or pause at ``stop_after``), evaluating the averaged weights now and then."""
    while run.step < min(steps, stop_after or steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + run.step)
        batch = lift_samples(poses, trainer.body, batch_size, generator)
        run.network.train()
        loss, terms = trainer.loss(trainer.state(run.network, batch), trainer.target(batch))
        rate = learning_rate(run.step, peak=peak_rate, steps=steps, warmup=300, decay_share=0.4)
        run.update(loss, learning_rate=rate)
        if run.step % log_every == 0:
            _logger.info("%s", run.log(loss=loss.detach(), **terms))
        if run.step % evaluate_every == 0 or run.step == steps:
            _logger.info(
                "%s", run.log(validation="mocap", **trainer.evaluate(run.average.module, validation))
            )
            run.save()


def load_lifter(head: StateHead, path: Path) -> None:
    """Give a state head the lifter at ``path``, and silence its image branch, which corrected another."""
    fill(head.lifter, read_weights(path, kind=LIFTER_FORMAT)[1], path=path)
    head.zero_init_image_branch()


def main(
    run: Annotated[Path, typer.Option(help="folder of the run: checkpoint, log, weights")],
    mocap: Annotated[Path, typer.Option(help="mocap cache (npz) of kinestream.trainer.prepare.mocap")],
    flow: Annotated[Path | None, typer.Option(help="pose flow; default: the shipped one")] = None,
    init: Annotated[Path | None, typer.Option(help="regressor whose lifter to start from")] = None,
    steps: int = 20000,
    batch_size: int = 256,
    peak_rate: float = 1e-3,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Train, then write ``lifter.safetensors`` (averaged weights) into the run's folder."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    pose_flow = PoseFlow.load(flow).eval().requires_grad_(False)
    body = BodyModel.load()
    lifter = Lifter(pose_flow.dim)
    if init is not None:
        lifter.load_state_dict(load_network(init).head.lifter.state_dict())
    optimizer = torch.optim.AdamW(lifter.parameters(), lr=peak_rate, weight_decay=1e-2)
    state = TrainingRun(run, lifter, optimizer)
    state.resume()
    validation = lift_samples(
        rooted_poses(mocap, "val"), body, EVALUATION_SAMPLES, torch.Generator().manual_seed(12345)
    )
    train(
        LifterTrainer(lifter, pose_flow, body),
        state,
        rooted_poses(mocap, "train"),
        validation,
        steps=steps,
        batch_size=batch_size,
        peak_rate=peak_rate,
        seed=seed,
    )
    save_weights(
        run / "lifter.safetensors",
        state.average.module,
        kind=LIFTER_FORMAT,
        config={"latent_size": pose_flow.dim},
        notes={"steps": str(state.step)},
    )


if __name__ == "__main__":
    typer.run(main)
