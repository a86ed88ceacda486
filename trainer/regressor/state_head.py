"""Training of the state head alone, on evidence that a network with trained keypoints gave once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from kinestream.regress.network import RegressorNetwork
from kinestream.regress.state_head import Evidence, StateHead
from kinestream.trainer.data.crops.crop_sample import CropSource, collate
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.crops.lift_samples import lift_samples
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.lifter import lifted
from kinestream.trainer.regressor.real_people import RealPeople
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import linear_decay, step_generator

LIFT_SHARE = 0.5
"""Weight of the motion-capture samples beside the crops."""
REAL_SHARE = 0.5
"""Real crops of a batch, for each rendered one."""
_BATCH = 64


class ObservedBodies(NamedTuple):
    """N crops: the network's evidence, and their exact bodies (virtual camera)."""

    evidence: Evidence
    to_virtual: Tensor
    log_extent: Tensor
    rotations: Tensor
    translation_m: Tensor
    betas: Tensor

    @classmethod
    def of(cls, fields: Sequence[Tensor]) -> "ObservedBodies":
        """From the fields of the evidence, then the others."""
        width = len(Evidence._fields)
        return cls(Evidence(*fields[:width]), *fields[width:])

    @classmethod
    def load(cls, path: Path) -> "ObservedBodies":
        """Read what `save` wrote; ``ValueError`` for another file."""
        names = [*Evidence._fields, *cls._fields[1:]]
        with np.load(path, allow_pickle=False) as content:
            if content.files != names:
                raise ValueError(f"{path}: expected observations, arrays {names}; found {content.files}")
            return cls.of([torch.from_numpy(content[name]) for name in names])

    def save(self, path: Path) -> None:
        """Write an npz file."""
        fields = {**self.evidence._asdict(), **dict(zip(self._fields[1:], self[1:], strict=True))}
        with path.open("wb") as file:
            np.savez(file, **{name: field.numpy() for name, field in fields.items()})

    def rows(self, index: Tensor) -> "ObservedBodies":
        """Some of them."""
        return self.of([field[index] for field in (*self.evidence, *self[1:])])

    def without_features(self, share: float, generator: torch.Generator) -> "ObservedBodies":
        """The same with a random ``share`` of the image features dropped and the others scaled up."""

        def drop(features: Tensor) -> Tensor:
            return features * (torch.rand(features.shape, generator=generator) >= share) / (1 - share)

        pooled, under = drop(self.evidence.pooled), drop(self.evidence.under)
        return self._replace(evidence=self.evidence._replace(pooled=pooled, under=under))


@torch.no_grad()
def observe(
    network: RegressorNetwork, pool: CropSource, count: int, *, seed: int, bfloat16: bool = False
) -> ObservedBodies:
    """Run the network on ``count`` random crops; in bfloat16 three times as fast and less exact."""
    network.eval()
    rng = np.random.default_rng(seed)
    parts: list[list[Tensor]] = []
    for first in range(0, count, _BATCH):
        batch = collate([pool.sample(rng) for _ in range(min(_BATCH, count - first))])
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            evidence = [field.float() for field in network.encode(images).evidence]
        labels = (batch.to_virtual, batch.log_extent, batch.rotations, batch.translation_m, batch.betas)
        parts.append([*evidence, *labels])
    return ObservedBodies.of([torch.cat(values) for values in zip(*parts, strict=True)])


@torch.no_grad()
def evaluate(head: nn.Module, teacher: BodyTeacher, held_out: ObservedBodies) -> dict[str, float]:
    """Terms of the loss on crops of people who were not trained on."""
    head.eval()
    state = head(held_out.evidence, held_out.to_virtual, held_out.log_extent)
    _, terms = teacher.loss(state, teacher.targets(held_out))
    return {name: float(value) for name, value in terms.items()}


def train(
    run: TrainingRun,
    teacher: BodyTeacher,
    crops: ObservedBodies,
    held_out: ObservedBodies,
    poses: Tensor,
    *,
    steps: int,
    batch_size: int,
    peak_rate: float,
    warmup: int = 50,
    seed: int = 0,
    errors: KeypointErrors | None = None,
    feature_dropout: float = 0.0,
    real: RealPeople | None = None,
    real_share: float = REAL_SHARE,
    **loop: Any,
) -> None:
    """Train ``run.network``, a :class:`StateHead`; ``loop`` are options of `TrainingRun.train`.

    With ``real``, people of whom no exact body is known are learned from as well, ``real_share`` of them for
    each rendered one.
    """
    head = cast(StateHead, run.network)

    def loss_of_step() -> tuple[Tensor, dict[str, Tensor]]:
        generator = step_generator(seed, run.step)
        rows = crops.rows(torch.randint(len(crops.betas), (batch_size,), generator=generator))
        if feature_dropout > 0:
            rows = rows.without_features(feature_dropout, generator)
        lifts = lift_samples(poses, teacher.body, batch_size, generator, errors=errors)
        state = head(rows.evidence, rows.to_virtual, rows.log_extent)
        loss, terms = teacher.loss(state, teacher.targets(rows))
        lift_loss, _ = teacher.loss(lifted(head.lifter, lifts, head.latent_size), teacher.targets(lifts))
        loss, terms = loss + LIFT_SHARE * lift_loss, terms | {"lift": lift_loss.detach()}
        if real is not None:
            real_loss, real_terms = real.loss(head, teacher, int(real_share * batch_size), generator)
            loss, terms = loss + real_loss, terms | real_terms
        return loss, terms

    run.train(
        loss_of_step,
        rate=lambda step: linear_decay(step, peak=peak_rate, steps=steps, warmup=warmup, decay_share=0.5),
        steps=steps,
        validate=lambda average: {"rendered": evaluate(average, teacher, held_out)},
        **loop,
    )
