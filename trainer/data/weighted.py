"""Sources of samples, each drawn as often as its weight says."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class Weighted(Generic[T]):
    """Things with weights; ``ValueError`` when one weight is negative or all are zero."""

    def __init__(self, entries: Sequence[tuple[T, float]]) -> None:
        weights = np.array([weight for _, weight in entries], np.float64)
        if not len(weights) or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"sources of samples need non-negative, not all zero weights; found {weights}")
        self.all = [thing for thing, _ in entries]
        self._shares = weights / weights.sum()

    def draw(self, rng: np.random.Generator) -> T:
        """One of them."""
        return self.all[rng.choice(len(self.all), p=self._shares)]
