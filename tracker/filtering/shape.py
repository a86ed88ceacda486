"""Body shape of a track: a slowly converging average, since people do not change."""

from __future__ import annotations

import numpy as np

from kinestream.kernels.array_types import Float32Array

MEMORY = 300
"""Observations over which the average runs, so that a track that changes hands recovers."""
CORRELATED_FRAMES = 10.0
"""So many successive observations err alike: the average is no surer than of every tenth."""


class ShapeAverage:
    """Precision-weighted running mean of betas (10,) and its standard deviation."""

    def __init__(self) -> None:
        self._precision: Float32Array | None = None
        self.betas: Float32Array = np.zeros(0, np.float32)

    @property
    def std(self) -> Float32Array:
        """Standard deviation (10,) of the average."""
        if self._precision is None:
            raise RuntimeError("std: there was no update yet")
        return np.asarray(1.0 / np.sqrt(self._precision), np.float32)

    def update(self, betas: Float32Array, std: Float32Array) -> None:
        """Take in an observed shape (10,) with its standard deviation (10,)."""
        fresh = 1.0 / np.square(np.maximum(std, np.float32(1e-3)))
        if self._precision is None:
            self.betas, self._precision = np.asarray(betas, np.float32), fresh
            return
        worth = fresh / CORRELATED_FRAMES
        self._precision = np.asarray((1 - 1 / MEMORY) * self._precision + worth, np.float32)
        self.betas = np.asarray(self.betas + worth / self._precision * (betas - self.betas), np.float32)
