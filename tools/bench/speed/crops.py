"""Crops to compare engines on: pictures of people from a folder, or noise; and arguments to match."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def arguments_of(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments of the regressor's network for crops (B, 3, S, S): small random turns, usual extents."""
    rng = torch.Generator().manual_seed(len(images))
    to_virtual = torch.eye(3) + 0.05 * torch.randn(len(images), 3, 3, generator=rng)
    return images, to_virtual, -1.2 + 0.4 * torch.randn(len(images), generator=rng)


def noise_crops(count: int, crop_px: int) -> Tensor:
    """Random crops (count, 3, crop_px, crop_px) uint8."""
    rng = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, crop_px, crop_px), dtype=torch.uint8, generator=rng)


def picture_crops(folder: Path, count: int, crop_px: int) -> Tensor:
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
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def _square(picture: np.ndarray, side_px: int) -> np.ndarray:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = picture[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > side_px else cv2.INTER_LINEAR
    return cv2.cvtColor(cv2.resize(middle, (side_px, side_px), interpolation=method), cv2.COLOR_BGR2RGB)
