"""How far the network's keypoints are off: their covariance, by heat map, confidence and size of the box.

A keypoint is where its heat map is narrow in one direction and may be wide in the other, as along a forearm:
its covariance is that of the map times the square of ``share * exp(share_slope * (1 - c))`` at confidence c,
and a floor. Without a heat map it is off by about ``std * exp(slope * (1 - c))`` in every direction. Errors
have outliers, for which the loss is robust. All lengths are shares of the longer side of the box.

Calibrated by `kinestream.trainer.prepare.keypoint_noise` on rendered people whose keypoints are known
exactly: there share comes out as 0.4 and share_slope as 1.9, on photos as 0.9 and 0.6; what lies between them
serves both. std and slope are kept with the regressor's weights. Hips and shoulders have a floor of their
own: where labels of photos put them is not where the body has them.
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
    """Covariance of keypoints.

    Attributes:
        floor: deviation per axis that every keypoint has, as a share of the box's longer side.
        share: factor of the heat map's deviation at full confidence.
        share_slope: growth of its logarithm per unit of confidence that is missing.
        std: deviation per axis of a keypoint without a heat map at full confidence.
        slope: growth of its logarithm per unit of confidence that is missing.
        floors: (23,) added in squares, as shares of the box's longer side.
        robust: distance, in deviations, beyond which the Cauchy loss flattens.
        min_confidence: keypoints below it say nothing.
    """

    floor: float = 0.004
    share: float = 0.6
    share_slope: float = 1.3
    std: float = 0.010
    slope: float = 4.2
    floors: tuple[float, ...] = tuple(
        HIP_FLOOR if "hip" in name else SHOULDER_FLOOR if "shoulder" in name else 0.0
        for name in KEYPOINT_NAMES
    )
    robust: float = 1.5
    min_confidence: float = 0.05

    def covariance_px2(
        self, confidence: npt.ArrayLike, box_side_px: float, heatmaps_px2: npt.ArrayLike | None = None
    ) -> Float64Array:
        """Covariances (23, 3): xx, xy, yy in the picture.

        Args:
            confidence: (23,) of the keypoints.
            box_side_px: longer side of the person's box.
            heatmaps_px2: (23, 3) covariances of their heat maps; None, or not finite, where unknown.

        """
        missing = 1.0 - np.clip(np.asarray(confidence, np.float64), 0.0, 1.0)
        result = np.zeros((NUM_KEYPOINTS, 3))
        even = self.std * np.exp(self.slope * missing)
        if heatmaps_px2 is not None:
            maps = np.asarray(heatmaps_px2, np.float64)
            known = np.isfinite(maps).all(1)
            share = self.share * np.exp(self.share_slope * missing[known])
            result[known] = np.square(share)[:, None] * maps[known]
            even[known] = self.floor
        result[:, ::2] += (box_side_px**2 * (even * even + self._squared_floors))[:, None]
        return result

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
