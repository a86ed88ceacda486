"""Weak and self-supervision of the state head on real people, whose evidence was computed once."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from kinestream.geometry.rotation import matrix_from_sixd
from kinestream.latent.dynamics import LatentDynamics
from kinestream.networks.interface import BodyState
from kinestream.regress.state_head import StateHead
from kinestream.trainer.losses.agreement import mirror_disagreement
from kinestream.trainer.losses.body import BodyLoss, BodyLossWeights
from kinestream.trainer.losses.temporal import temporal_loss
from kinestream.trainer.losses.weak import WeakLossWeights, weak_body_loss
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.observed_people import ObservedPeople
from kinestream.trainer.regressor.updated_people import UpdatedBodies

_UPDATED = BodyLossWeights(pelvis=0.0, betas=0.0, deviations=0.0)
"""What the update says of distance and size hangs on a camera that is only assumed, and how far off the head
is cannot be learned from targets that were made of its own answers."""


@dataclass(frozen=True)
class RealPeopleWeights:
    """Weights of the regimes' terms beside the loss of exact bodies."""

    weak: WeakLossWeights = field(default_factory=WeakLossWeights)
    mirror: float = 0.0
    temporal: float = 0.0
    updated: float = 0.0


@dataclass(frozen=True, eq=False)
class RealPeople:
    """Photos with labels, and video without, that the head learns from."""

    photos: ObservedPeople
    video: ObservedPeople | None = None
    dynamics: LatentDynamics | None = None  # for the temporal loss
    weights: RealPeopleWeights = field(default_factory=RealPeopleWeights)
    updated_photos: UpdatedBodies | None = None
    updated_video: UpdatedBodies | None = None

    def loss(
        self, head: StateHead, teacher: BodyTeacher, crops: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted loss of so many photos, and of as many frames of video; its unweighted terms by name."""
        total, terms = self._of_people(head, teacher, self.photos, self.updated_photos, crops, generator)
        named = {f"photos_{name}": term for name, term in terms.items()}
        if self.video is not None:
            runs = max(1, crops // self.video.times_s.shape[1])
            value, terms = self._of_people(head, teacher, self.video, self.updated_video, runs, generator)
            total = total + value
            named |= {f"video_{name}": term for name, term in terms.items()}
        return total, named

    def _of_people(
        self,
        head: StateHead,
        teacher: BodyTeacher,
        people: ObservedPeople,
        updated: UpdatedBodies | None,
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(len(people.times_s), (count,), generator=generator)
        some = people.runs(chosen)
        state = head(some.evidence, some.to_virtual, some.log_extent)
        total, terms = weak_body_loss(
            teacher.loss,
            state,
            keypoints=some.keypoints,
            to_virtual=some.to_virtual,
            log_extent=some.log_extent,
            parts=some.parts,
            weights=self.weights.weak,
        )
        if self.weights.mirror > 0:
            mirrored = head(some.in_mirror, some.to_virtual, some.log_extent)
            joints, other = (_joints(teacher, one, some.log_extent) for one in (state, mirrored))
            terms["mirror"] = mirror_disagreement(joints, other)
            total = total + self.weights.mirror * terms["mirror"]
        if self.weights.temporal > 0 and self.dynamics is not None and some.times_s.shape[1] > 1:
            terms["temporal"] = both_ways(self.dynamics, state, some.log_extent, some.times_s)
            total = total + self.weights.temporal * terms["temporal"]
        if self.weights.updated > 0 and updated is not None:
            bodies = updated.rows(people.rows(chosen))
            sure = bodies.sure.nonzero()[:, 0]
            if len(sure):
                loss = BodyLoss(teacher.flow, teacher.body, _UPDATED)
                some_state = BodyState(*[values[sure] for values in state])
                value, found = loss(some_state, teacher.targets(bodies, sure))
                terms["updated"] = found["joints"]
                total = total + self.weights.updated * value
        return total, {name: value.detach() for name, value in terms.items()}


def both_ways(dynamics: LatentDynamics, state: BodyState, log_extent: Tensor, times_s: Tensor) -> Tensor:
    """The temporal loss of motions (N, T) forwards and backwards: reversed motion is as likely."""
    count, frames = times_s.shape

    def reversed_in_time(values: Tensor) -> Tensor:
        return values.reshape(count, frames, *values.shape[1:]).flip(1).flatten(0, 1)

    back = BodyState(*[reversed_in_time(values) for values in state])
    forwards = temporal_loss(dynamics, state, log_extent=log_extent, times_s=times_s)
    backwards = temporal_loss(
        dynamics, back, log_extent=reversed_in_time(log_extent), times_s=times_s[:, -1:] - times_s.flip(1)
    )
    return (forwards + backwards) / 2


def _joints(teacher: BodyTeacher, state: BodyState, log_extent: Tensor) -> Tensor:
    return teacher.loss.posed(state, matrix_from_sixd(state.root_sixd), log_extent)[0]
