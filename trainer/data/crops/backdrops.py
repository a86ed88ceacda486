"""Pictures without people: perspective views of the CC0 panoramas, and plain colour where there are none."""

import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.trainer.data.photos.image_file import decode, packed_image

Image = npt.NDArray[np.uint8]


class Backdrops:
    """Random views, at most ``side_px`` square, from panoramas (equirectangular, 2:1)."""

    def __init__(
        self, panoramas: list[Image], *, side_px: int = 256, views: int = 400, seed: int = 0
    ) -> None:
        if not panoramas:
            raise ValueError("Backdrops: no panorama given")
        rng = np.random.default_rng(seed)
        self._views = [
            perspective_view(rng, panoramas[int(rng.integers(len(panoramas)))], side_px) for _ in range(views)
        ]

    @classmethod
    def load(cls, folder: Path, *, side_px: int = 256, views: int = 400, seed: int = 0) -> "Backdrops":
        """Read all JPEG panoramas of a folder; ``FileNotFoundError`` when it holds none."""
        files = sorted(Path(folder).glob("*.jpg"))
        if not files:
            raise FileNotFoundError(f"no panorama (*.jpg) in {folder}; see docs/training.md for the layout")
        images = [decode(packed_image(file)) for file in files]
        return cls(images, side_px=side_px, views=views, seed=seed)

    def crop(self, rng: np.random.Generator, side_px: int) -> Image:
        """A square picture of ``side_px`` without people."""
        view = self._views[int(rng.integers(len(self._views)))]
        if rng.random() < 0.12:
            flat = np.full((side_px, side_px, 3), rng.integers(0, 256, 3), np.uint8)
            return flat
        side = int(view.shape[0] * rng.uniform(0.4, 1.0))
        x, y = rng.integers(0, view.shape[0] - side + 1, 2)
        part = view[y : y + side, x : x + side]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        return np.asarray(cv2.resize(part, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def perspective_view(rng: np.random.Generator, panorama: Image, side_px: int) -> Image:
    """A square view of a panorama in a random direction near the horizon."""
    height, width = panorama.shape[:2]
    half = math.tan(math.radians(rng.uniform(40, 95)) / 2)
    axis = np.linspace(-half, half, side_px)
    x, y = np.meshgrid(axis, axis)
    pitch = math.radians(rng.normal(-5, 15))
    up, forward = -y * math.cos(pitch) + math.sin(pitch), y * math.sin(pitch) + math.cos(pitch)
    longitude = np.arctan2(x, forward) + rng.uniform(-math.pi, math.pi)
    latitude = np.arctan2(up, np.hypot(x, forward))
    u = ((longitude / (2 * math.pi) + 0.5) % 1.0) * width - 0.5
    v = (0.5 - latitude / math.pi) * height - 0.5
    view = cv2.remap(
        panorama,
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(view, np.uint8)
