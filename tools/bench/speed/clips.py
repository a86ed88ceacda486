"""Clips to measure on, made of the embedded one: any size, rate and number of people."""

import functools
import math
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import RgbImage
from kinestream.tools.metrics.clip import CLIP, ClipTruth

CODEC: Final = "libx264"
ROOM: Final = 1.5
"""Height of the window that follows the person, in heights of the person."""
_APART: Final = 23
"""Frames between what two neighbours do."""
_GRAY: Final = 96


def compose(path: Path, *, people: int, size_px: tuple[int, int], fps: int = 30, frames: int = 180) -> Path:
    """Write a clip of (width, height) with so many people; returns its path.

    One person stands in the whole picture, scaled. More stand in a grid of windows that follow the person, to
    and fro in time so that nothing jumps, every other one mirrored.
    """
    pictures = _pictures()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODEC, rate=fps, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height = size_px
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            if people == 1:
                picture = cv2.resize(pictures[_to_and_fro(index, len(pictures))], size_px)
            else:
                picture = _grid(pictures, index, people, size_px)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), "rgb24")))
        container.mux(stream.encode())
    return path


def _pictures() -> list[RgbImage]:
    with av.open(f"file:{CLIP}") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _to_and_fro(index: int, count: int) -> int:
    """0, 1 .. count - 1, count - 2 .. 0, 1 .."""
    place = index % (2 * count - 2)
    return min(place, 2 * count - 2 - place)


def _grid(pictures: list[RgbImage], index: int, people: int, size_px: tuple[int, int]) -> RgbImage:
    width, height = size_px
    columns = math.ceil(math.sqrt(1.5 * people))
    rows = math.ceil(people / columns)
    cell = width // columns, height // rows
    picture = np.full((height, width, 3), _GRAY, np.uint8)
    for person in range(people):
        row, column = divmod(person, columns)
        at = _to_and_fro(index + _APART * person, len(pictures))
        tile = cv2.resize(_window(pictures[at], _followed()[at], cell[0] / cell[1]), cell)
        if person % 2:
            tile = tile[:, ::-1]
        picture[row * cell[1] : (row + 1) * cell[1], column * cell[0] : (column + 1) * cell[0]] = tile
    return picture


def _window(picture: RgbImage, around: npt.NDArray[np.floating], aspect: float) -> RgbImage:
    """A window around x, y and the height of a person, moved to lie within the picture."""
    x, y, tall = around.tolist()
    height = min(ROOM * tall, picture.shape[0], picture.shape[1] / aspect)
    width = aspect * height
    left = min(max(0.0, x - width / 2), picture.shape[1] - width)
    top = min(max(0.0, y - height / 2), picture.shape[0] - height)
    return picture[round(top) : round(top + height), round(left) : round(left + width)]


@functools.cache
def _followed() -> npt.NDArray[np.float64]:
    """Middle (x, y) of the person in each frame (T, 3), smoothed in time, and the largest height."""
    points = ClipTruth.load().keypoints_px.astype(np.float64)
    low, high = points.min(1), points.max(1)
    smooth = cv2.GaussianBlur((low + high) / 2, (1, 31), 8)
    return np.column_stack([smooth, np.full(len(smooth), (high - low)[:, 1].max())])
