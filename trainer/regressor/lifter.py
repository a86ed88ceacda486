"""Training of the lifter on motion capture, and its weight files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinestream.geometry.rotation import matrix_from_sixd
from kinestream.networks.interface import BodyState
from kinestream.networks.weight_files import fill, read_weights
from kinestream.regress.lifter import Lifter, split_state
from kinestream.regress.state_head import StateHead
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.crops.lift_samples import LiftBatch, lift_samples
from kinestream.trainer.metrics import aligned_error
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import linear_decay, step_generator

LIFTER_FORMAT = "kinestream.lifter.v1"


def load_lifter(head: StateHead, path: Path, *, keep_image_branch: bool = False) -> None:
    """Give a state head the lifter at ``path``; its image branch, which corrected another, starts at zero."""
    head.lifter.load_state_dict(read_lifter(path, head.latent_size).state_dict())
    if not keep_image_branch:
        head.zero_init_image_branch()


def read_lifter(path: Path, latent_size: int) -> Lifter:
    """The lifter at ``path``; raises as `read_weights`."""
    lifter = Lifter(latent_size)
    fill(lifter, read_weights(path, kind=LIFTER_FORMAT).arrays, path=path)
    return lifter


def lifted(lifter: nn.Module, batch: LiftBatch, latent_size: int) -> BodyState:
    """The lifter's body states of a batch."""
    return split_state(lifter(batch.points, batch.confidence, batch.log_extent)[1], latent_size)


@torch.no_grad()
def evaluate(lifter: nn.Module, batch: LiftBatch, teacher: BodyTeacher) -> dict[str, float]:
    """Terms of the loss, and mean errors in mm: root-aligned (MPJPE), after a similarity (PA-MPJPE)."""
    lifter.eval()
    target, state = teacher.targets(batch), lifted(lifter, batch, teacher.flow.dim)
    _, terms = teacher.loss(state, target)
    joints, _, _ = teacher.loss.posed(state, matrix_from_sixd(state.root_sixd), batch.log_extent)
    aligned = aligned_error(joints.numpy(), target.joints_m.numpy()).mean()
    errors = {"mpjpe_mm": 1000 * float(terms["joints"]), "pa_mpjpe_mm": 1000 * float(aligned)}
    return errors | {name: float(value) for name, value in terms.items()}


def train(
    run: TrainingRun,
    teacher: BodyTeacher,
    poses: Tensor,
    validation: LiftBatch,
    *,
    steps: int,
    batch_size: int,
    peak_rate: float,
    seed: int = 0,
    errors: KeypointErrors | None = None,
    **loop: Any,
) -> None:
    """Train a lifter on poses (N, 22, 3, 3); ``loop`` are options of `TrainingRun.train`."""

    def loss_of_step() -> tuple[Tensor, dict[str, Tensor]]:
        generator = step_generator(seed, run.step)
        batch = lift_samples(poses, teacher.body, batch_size, generator, errors=errors)
        loss, terms = teacher.loss(lifted(run.network, batch, teacher.flow.dim), teacher.targets(batch))
        return loss, terms

    run.train(
        loss_of_step,
        rate=lambda step: linear_decay(step, peak=peak_rate, steps=steps, warmup=300, decay_share=0.4),
        steps=steps,
        validate=lambda average: {"mocap": evaluate(average, validation, teacher)},
        **loop,
    )
