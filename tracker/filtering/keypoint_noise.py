"""How far the network's keypoints are off: their deviation by confidence and by the size of the box.

Calibrated by `kinestream.trainer.prepare.keypoint_noise` on rendered people whose keypoints are known
exactly, and kept with the regressor's weights; the floors on photos in the public domain. All lengths are
shares of the longer side of the box. A keypoint at confidence c is off by about
``std * exp(slope * (1 - c))``, Rayleigh for the most part, with
outliers for which the loss is robust. By network and boxes, std comes out as 0.009 to 0.012 and slope as 2.8
to 4.6, and the poses do not depend on which is taken. Hips and shoulders have a floor: where labels of photos
put them is not where the body has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS
from kinestream.kernels.array_types import Float64Array

HIP_FLOOR: Final = 0.0105
SHOULDER_FLOOR: Final = 0.006
"""Disagreement of labels of photos with the network's keypoints beyond that of elbows, knees and ankles."""

TOE_OFFSETS_M: Final = {"big_toe": (0.018, -0.006, -0.009), "small_toe": (-0.025, 0.0, 0.011)}
"""Where the network sees a left toe, in the frame of the foot: the two nearer to each other than they are."""


@dataclass(frozen=True, eq=False)
class KeypointNoise:
    """Deviation of keypoints.

    Attributes:
        std: per axis at full confidence, as a share of the box's longer side.
        slope: growth of its logarithm per unit of confidence that is missing.
        floors: (23,) added in squares, as shares of the box's longer side.
        robust: distance, in deviations, beyond which the Cauchy loss flattens.
        min_confidence: keypoints below it say nothing.
    """

    std: float = 0.010
    slope: float = 4.2
    floors: tuple[float, ...] = tuple(
        HIP_FLOOR if "hip" in name else SHOULDER_FLOOR if "shoulder" in name else 0.0
        for name in KEYPOINT_NAMES
    )
    robust: float = 1.5
    min_confidence: float = 0.05

    def std_px(self, confidence: npt.ArrayLike, box_side_px: float) -> Float64Array:
        """Deviation (23,) in pixels, per axis, of keypoints with these confidences (23,)."""
        missing = 1.0 - np.clip(np.asarray(confidence, np.float64), 0.0, 1.0)
        own = self.std * np.exp(self.slope * missing)
        return np.asarray(box_side_px * np.sqrt(own * own + self._squared_floors))

    @cached_property
    def _squared_floors(self) -> Float64Array:
        return np.square(self.floors)


def keypoint_offsets_m() -> Float64Array:
    """(23, 3) what to add to the body's keypoints to have what the network shows; mirrored for the right."""
    offsets = np.zeros((NUM_KEYPOINTS, 3))
    for index, name in enumerate(KEYPOINT_NAMES):
        side, _, kind = name.partition("_")
        if kind in TOE_OFFSETS_M:
            offsets[index] = TOE_OFFSETS_M[kind]
            offsets[index, 0] *= 1 if side == "left" else -1
    return offsets
