"""Left and right taken for each other: arms and legs, tested as hypotheses before the update."""

import numpy as np

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.kernels.array_types import Float64Array
from kinestream.latent.robust import cauchy

_LIMBS = (("elbow", "wrist"), ("knee", "ankle", "big_toe", "small_toe", "heel"))
LEFT, RIGHT = (
    np.array([KEYPOINT_NAMES.index(f"{side}_{name}") for limb in _LIMBS for name in limb])
    for side in ("left", "right")
)
_ARM = len(_LIMBS[0])
_SEEN = np.concatenate([LEFT, RIGHT, LEFT, RIGHT])
_PREDICTED = np.concatenate([LEFT, RIGHT, RIGHT, LEFT])

SPREAD = 0.05
"""Deviation of the predicted keypoints in the picture, as a share of the box's longer side."""
MARGIN = 5.0
"""A swap must lower the robust energy by this much (nats) to be believed."""
ROBUST = 3.0


def swap_gains(
    predicted: Float64Array,
    pixels: Float64Array,
    std_px: Float64Array,
    weights: Float64Array,
    spread_px: float,
) -> tuple[float, float]:
    """How much lower the robust energy of arms and of legs is once left and right are exchanged.

    Args:
        predicted: (23, 2) the body's keypoints in the picture.
        pixels: (23, 2) the network's.
        std_px: (23,) their deviations.
        weights: (23,) 0 for those that are not used.
        spread_px: deviation of the predicted.

    """
    square = np.square(predicted[_PREDICTED] - pixels[_SEEN]).sum(1)
    loss = cauchy(square / (std_px[_SEEN] ** 2 + spread_px**2), ROBUST).reshape(2, 2, -1).sum(1)
    gain = np.where((weights[LEFT] > 0) & (weights[RIGHT] > 0), loss[0] - loss[1], 0.0)
    return float(gain[:_ARM].sum()), float(gain[_ARM:].sum())


def exchanged(arms: bool, legs: bool) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Indices (23,) that exchange left and right of limbs."""
    order = np.arange(len(KEYPOINT_NAMES))
    which = np.arange(len(LEFT)) < _ARM
    moved = (which & arms) | (~which & legs)
    order[LEFT[moved]], order[RIGHT[moved]] = RIGHT[moved], LEFT[moved]
    return order
