"""Hard cuts between shots: whoever stands where somebody stood in the shot before is somebody else."""

import cv2
import numpy as np

from kinestream.kernels.array_types import Float32Array, RgbImage

SIDE_PX = 32
"""Pictures are compared at this size."""
ALIKE = 0.5
"""Correlation of two pictures from which on they show the same view; neighbouring frames have 0.8 or more."""
SAME_COLOURS = 0.7
"""Share of pixels that find their colour again, from which on the picture moved and was not changed."""
_COARSE = 2


class CutDetector:
    """Compares each picture with the one before: a cut changes what is where and which colours there are.

    Fast motion and pans keep the colours; flashes and exposure keep what is where. A cut between shots of the
    same colours is not noticed. Takes 0.13 ms a picture.
    """

    def __init__(self) -> None:
        self._last: tuple[Float32Array, Float32Array] | None = None

    def is_cut(self, image_rgb: RgbImage) -> bool:
        """Whether a new shot begins with this picture (H, W, 3)."""
        step = max(1, min(image_rgb.shape[:2]) // (_COARSE * SIDE_PX))
        few = np.ascontiguousarray(image_rgb[::step, ::step])
        small = cv2.resize(few, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        grey = small.mean(axis=2, dtype=np.float32)
        grey -= grey.mean()
        grey /= np.linalg.norm(grey) + 1e-3
        bins = (small.astype(np.int32) >> 6) @ np.array([16, 4, 1], np.int32)
        colours = np.bincount(bins.ravel(), minlength=64).astype(np.float32) / np.float32(bins.size)
        last, self._last = self._last, (grey, colours)
        if last is None:
            return False
        return bool((grey * last[0]).sum() < ALIKE and np.minimum(colours, last[1]).sum() < SAME_COLOURS)
