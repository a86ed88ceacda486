"""Array types and small vector helpers shared by the steps of the builder."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called as ``progress(step_name, done, total)`` while a step runs."""


def silent(step: str, done: int, total: int) -> None:
    """The progress callback of a caller who does not want to know."""


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors (..., 3) scaled to length one."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def smooth_step(x: FloatArray, low: float, high: float) -> FloatArray:
    """Cubic ramp from 0 at `low` to 1 at `high`."""
    t: FloatArray = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
