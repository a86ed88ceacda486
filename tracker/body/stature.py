"""Standing height of a body, and the shape that has a known one.

With a single camera nobody can tell a small person nearby from a tall one further away. A known height
settles it: the shape is the nearest with that height, and the distance follows, so that the picture stays as
it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from kinestream.body.arrays import BodyArrays
from kinestream.kernels.array_types import Float32Array, Float64Array

LOWEST_M, HIGHEST_M = 0.8, 2.5
LEFT_STD: Final = 0.02
"""What is left of the deviation of a shape along the known height, as a share."""


def check_heights(heights_m: float | Sequence[float]) -> None:
    """Raise ``ValueError`` unless these are heights of people."""
    for height_m in [heights_m] if isinstance(heights_m, int | float) else heights_m:
        if not LOWEST_M <= height_m <= HIGHEST_M:
            raise ValueError(f"height: expected {LOWEST_M} to {HIGHEST_M} m, found {height_m:g}")


class Stature:
    """Standing heights of one body model, without hair and shoes."""

    def __init__(self, body: BodyArrays) -> None:
        """Take crown and soles of the template: height is linear in the shape."""
        up = body.v_template[:, 1]
        crown, sole = int(up.argmax()), int(up.argmin())
        self._mean_m = float(up[crown] - up[sole])
        self._slope: Float64Array = (body.shapedirs[crown, 1] - body.shapedirs[sole, 1]).astype(np.float64)
        share = np.square(self._slope) / np.square(self._slope).sum()
        self.std_left: Float32Array = np.sqrt(np.maximum(1 - share, LEFT_STD**2)).astype(np.float32)
        """(S,) what a known height leaves of the deviations of a shape, as shares."""

    def height_m(self, betas: Float32Array) -> float:
        """Of a shape (S,)."""
        return self._mean_m + float(self._slope[: len(betas)] @ betas)

    def with_height(self, betas: Float32Array, height_m: float) -> Float32Array:
        """The nearest shape (S,) of this height."""
        missing = (height_m - self.height_m(betas)) / float(self._slope @ self._slope)
        return np.asarray(betas + missing * self._slope, np.float32)
