"""What contact sheets share: cells in rows, a PNG file."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""


def write_sheet(path: Path, cells: Iterable[Picture], *, columns: int) -> None:
    """Write pictures of one size in rows of ``columns`` as a PNG. Raises ``OSError``."""
    cells = list(cells)
    padded = cells + [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.concatenate(padded[i : i + columns], axis=1) for i in range(0, len(padded), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1]):
        raise OSError(f"could not write a picture to {path}: give a name that ends in .png")
