"""Left and right taken for each other: arms and legs, tested as hypotheses before the update; compiled."""

import numpy as np
from numba import njit

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.kernels.array_types import Float64Array, Int64Array
from kinestream.latent.robust import cauchy

_LIMBS = (("elbow", "wrist"), ("knee", "ankle", "big_toe", "small_toe", "heel"))
LEFT = tuple(np.array([KEYPOINT_NAMES.index(f"left_{name}") for name in limb], np.int64) for limb in _LIMBS)
RIGHT = tuple(np.array([KEYPOINT_NAMES.index(f"right_{name}") for name in limb], np.int64) for limb in _LIMBS)

SPREAD = 0.05
"""Deviation of the predicted keypoints in the picture, as a share of the box's longer side."""
MARGIN = 5.0
"""A swap must lower the robust energy by this much (nats) to be believed."""
ROBUST = 3.0


@njit(cache=True)
def swap_gain(
    predicted: Float64Array,
    pixels: Float64Array,
    std_px: Float64Array,
    weights: Float64Array,
    spread_px: float,
    left: Int64Array,
    right: Int64Array,
) -> float:
    """How much lower the robust energy of a limb is once left and right are exchanged.

    Args:
        predicted: (23, 2) the body's keypoints in the picture.
        pixels: (23, 2) the network's.
        std_px: (23,) their deviations.
        weights: (23,) 0 for those that are not used.
        spread_px: deviation of the predicted.
        left: (n,) keypoints of the limb.
        right: (n,) those of the other side.

    """
    gain = 0.0
    for i in range(left.shape[0]):
        a, b = left[i], right[i]
        if weights[a] <= 0 or weights[b] <= 0:
            continue
        variance_a, variance_b = std_px[a] ** 2 + spread_px**2, std_px[b] ** 2 + spread_px**2
        gain += _loss(predicted[a], pixels[a], variance_a) + _loss(predicted[b], pixels[b], variance_b)
        gain -= _loss(predicted[a], pixels[b], variance_b) + _loss(predicted[b], pixels[a], variance_a)
    return gain


@njit(cache=True)
def _loss(predicted: Float64Array, seen: Float64Array, variance: float) -> float:
    square = ((predicted[0] - seen[0]) ** 2 + (predicted[1] - seen[1]) ** 2) / variance
    return cauchy(square, ROBUST)


@njit(cache=True)
def exchange(pixels: Float64Array, std_px: Float64Array, left: Int64Array, right: Int64Array) -> None:
    """Exchange left and right of a limb, in place."""
    for i in range(left.shape[0]):
        a, b = left[i], right[i]
        for c in range(2):
            pixels[a, c], pixels[b, c] = pixels[b, c], pixels[a, c]
        std_px[a], std_px[b] = std_px[b], std_px[a]
