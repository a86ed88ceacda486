"""Crops to compare engines on: pictures of people from a folder, or noise; and arguments to match."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import Float32Array

Crops = npt.NDArray[np.uint8]
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def arguments_of(images: Crops) -> tuple[Crops, Float32Array, Float32Array]:
    """Arguments of the regressor's network for crops (B, 3, S, S): small random turns, usual extents."""
    rng, count = np.random.default_rng(len(images)), len(images)
    to_virtual = np.eye(3) + 0.05 * rng.normal(size=(count, 3, 3))
    return images, to_virtual.astype(np.float32), np.float32(-1.2 + 0.4 * rng.normal(size=count))


def noise_crops(count: int, crop_px: int) -> Crops:
    """Random crops (count, 3, crop_px, crop_px) uint8."""
    return np.random.default_rng(count).integers(0, 256, (count, 3, crop_px, crop_px), np.uint8)


def picture_crops(folder: Path, count: int, crop_px: int) -> Crops:
    """The middle squares (N, 3, crop_px, crop_px) uint8 RGB of at most ``count`` pictures, evenly picked.

    Raises ``FileNotFoundError`` when the folder, searched with all below it, has no readable picture.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    picked = [paths[index] for index in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
    squares = [
        _square(picture, crop_px)
        for picture in (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in picked)
        if picture is not None
    ]
    if not squares:
        raise FileNotFoundError(f"{folder}: found no picture ({', '.join(sorted(SUFFIXES))}); name a folder")
    return np.stack(squares).transpose(0, 3, 1, 2)


def _square(picture: np.ndarray, side_px: int) -> np.ndarray:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > side_px else cv2.INTER_LINEAR
    return cv2.cvtColor(cv2.resize(middle, (side_px, side_px), interpolation=method), cv2.COLOR_BGR2RGB)
