"""Which keypoints are believed: gates, and left and right taken for each other, tested before the update."""

from typing import Final, NamedTuple

import numpy as np

from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS
from kinestream.kernels.array_types import Float64Array, Int64Array
from kinestream.kernels.caching import compiled

_LIMBS: Final = (("elbow", "wrist"), ("knee", "ankle", "big_toe", "small_toe", "heel"))
_SIDES: Final = np.array(
    [
        [KEYPOINT_NAMES.index(f"{side}_{name}") for limb in _LIMBS for name in limb]
        for side in ("left", "right")
    ]
)
_ARM: Final = len(_LIMBS[0])

SPREAD: Final = 0.05
"""Deviation of the predicted keypoints in the picture, as a share of the box's longer side."""
MARGIN: Final = 5.0
"""A swap must lower the robust energy by this much (nats) to be believed."""
ROBUST: Final = 3.0
GATE: Final = 5.0
"""Keypoints this many deviations (their own and `SPREAD`) from the predicted ones are not used."""


class Believed(NamedTuple):
    """Arrays to fill: keypoints (23, 2), what whitens them (23, 3), 1 for those in use, else 0 (23,)."""

    pixels: Float64Array
    whitening: Float64Array
    weights: Float64Array

    @classmethod
    def empty(cls) -> "Believed":
        """Of nobody."""
        return cls(np.zeros((NUM_KEYPOINTS, 2)), np.zeros((NUM_KEYPOINTS, 3)), np.zeros(NUM_KEYPOINTS))


def believe(
    keypoints_px: Float64Array,
    covariance_px2: Float64Array,
    predicted: Float64Array,
    box_side_px: float,
    min_confidence: float,
    out: Believed,
    swapped: tuple[bool, bool] | None = None,
) -> tuple[bool, bool]:
    """Fill ``out``; answers whether left and right were exchanged, of the arms and of the legs.

    Args:
        keypoints_px: (23, 3) the network's, with confidence.
        covariance_px2: (23, 3) their covariances, xx, xy, yy; they are exchanged where keypoints are.
        predicted: (23, 2) the body's keypoints in the picture; NaN where they have no picture.
        box_side_px: longer side of the person's box.
        min_confidence: keypoints below it are not used.
        out: what to fill.
        swapped: whether left and right are to be exchanged, of the arms and of the legs; None tests it.

    """
    known = -1 if swapped is None else swapped[0] + 2 * swapped[1]
    swaps = _believe(
        keypoints_px, covariance_px2, predicted, SPREAD * box_side_px, min_confidence, _SIDES, known,
        out.pixels, out.whitening, out.weights,
    )  # fmt: skip
    return bool(swaps & 1), bool(swaps & 2)


@compiled(error_model="numpy")
def _believe(
    keypoints: Float64Array,
    covariance: Float64Array,
    predicted: Float64Array,
    spread: float,
    min_confidence: float,
    sides: Int64Array,
    known: int,
    pixels: Float64Array,
    whitening: Float64Array,
    weights: Float64Array,
) -> int:
    """Arms are bit 0 of the answer and of ``known``, legs bit 1; a negative ``known`` is found out."""
    for k in range(NUM_KEYPOINTS):
        x, y, confidence = keypoints[k, 0], keypoints[k, 1], keypoints[k, 2]
        finite = np.isfinite(x) and np.isfinite(y) and np.isfinite(confidence)
        pixels[k, 0], pixels[k, 1] = (x, y) if finite else (0.0, 0.0)
        usable = finite and confidence >= min_confidence and np.isfinite(predicted[k, 0])
        weights[k] = 1.0 if usable else 0.0
        if not finite:
            covariance[k, 0] = covariance[k, 2] = 1.0
            covariance[k, 1] = 0.0
    limit, swaps = ROBUST * ROBUST, 0
    for legs in range(2):
        first, last = (_ARM, sides.shape[1]) if legs else (0, _ARM)
        gain = 0.0 if known < 0 else np.inf if known & (1 + legs) else -np.inf
        for n in range(first, last if known < 0 else first):
            if weights[sides[0, n]] == 0.0 or weights[sides[1, n]] == 0.0:
                continue
            for side in range(2):
                seen, partner = sides[side, n], sides[1 - side, n]
                variance = 0.5 * (covariance[seen, 0] + covariance[seen, 2]) + spread * spread
                for body, sign in ((seen, 1.0), (partner, -1.0)):
                    x, y = predicted[body, 0] - pixels[seen, 0], predicted[body, 1] - pixels[seen, 1]
                    gain += sign * 0.5 * limit * np.log1p((x * x + y * y) / variance / limit)
        if gain <= MARGIN:
            continue
        swaps += 1 + legs
        for n in range(first, last):
            left, right = sides[0, n], sides[1, n]
            for c in range(2):
                pixels[left, c], pixels[right, c] = pixels[right, c], pixels[left, c]
            for c in range(3):
                covariance[left, c], covariance[right, c] = covariance[right, c], covariance[left, c]
            weights[left], weights[right] = weights[right], weights[left]
    for k in range(NUM_KEYPOINTS):
        x, y = predicted[k, 0] - pixels[k, 0], predicted[k, 1] - pixels[k, 1]
        xx, xy, yy = covariance[k, 0], covariance[k, 1], covariance[k, 2]
        variance = 0.5 * (xx + yy) + spread * spread
        if not x * x + y * y <= GATE * GATE * variance:  # also where it is NaN
            weights[k] = 0.0
        whitening[k, 0] = 1.0 / np.sqrt(xx)
        whitening[k, 2] = 1.0 / np.sqrt(yy - xy * xy / xx)
        whitening[k, 1] = -whitening[k, 2] * xy / xx
    return swaps
