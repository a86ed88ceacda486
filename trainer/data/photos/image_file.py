"""Pictures kept packed in memory, and unpacked when they are drawn."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt


def packed_image(path: Path) -> npt.NDArray[np.uint8]:
    """The bytes of a picture file; ``FileNotFoundError`` names it."""
    if not path.exists():
        raise FileNotFoundError(f"no picture at {path}; see docs/training.md for the layout of the data")
    return np.frombuffer(path.read_bytes(), np.uint8)


def decode(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Packed JPEG or PNG -> RGB (H, W, 3); ``ValueError`` when it is neither."""
    image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("decode: the bytes are no readable JPEG or PNG picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
