"""What the trainings of the filter and of its forecaster have in common: the schedule and the loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from torch import Tensor, nn

from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import cosine_decay

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Annealing:
    """Steps, batches and rates of a training."""

    steps: int = 3000
    batch: int = 96
    frames: int = 40
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    ema: float = 0.995  # decay of the weight average that is saved
    seed: int = 0  # of weights, batches and noise


class LossTerms(Protocol):
    """Losses of a batch."""

    @property
    def total(self) -> Tensor:
        """What is minimised."""

    def numbers(self) -> dict[str, float]:
        """All terms by name."""


def minimise(
    run: TrainingRun,
    annealing: Annealing,
    losses: Callable[[Network, np.random.Generator], LossTerms],
    figures: Callable[[Network], dict[str, float]],
    **loop: Any,
) -> Network:
    """Bring ``losses`` of a run's network on what a generator draws to the last step.

    ``figures`` of the averaged network are logged; ``loop`` are options of `TrainingRun.train`. Returns the
    averaged network.
    """

    def loss_of_step() -> tuple[Tensor, dict[str, float]]:
        found = losses(cast(Network, run.network), run.generator(annealing.seed))
        return found.total, found.numbers()

    run.train(
        loss_of_step,
        rate=lambda now: cosine_decay(
            now, peak=annealing.learning_rate, steps=annealing.steps, warmup=annealing.warmup, floor=0.02
        ),
        steps=annealing.steps,
        validate=lambda average: {"mocap": figures(cast(Network, average))},
        **loop,
    )
    return cast(Network, run.averaged())
