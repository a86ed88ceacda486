"""Real video files whose pictures carry their own number."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT, BITS = 256, 64, 8
MakeVideo = Callable[..., Path]


def numbered_picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture whose upper half shows ``number`` as eight black or white fields, red below."""
    image = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        field = slice(bit * width // BITS, (bit + 1) * width // BITS)
        image[: height // 2, field] = 255 * (number >> bit & 1)
    image[height // 2 :, :, 0] = 200
    return image


def number_of(image: np.ndarray) -> int:
    """Read back the number of `numbered_picture`."""
    height, width = image.shape[:2]
    row = image[height // 4, [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)], 1]
    return int(sum(int(value > 128) << bit for bit, value in enumerate(row)))


def write_video(
    path: Path,
    *,
    count: int = 12,
    fps: int = 25,
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": "4", **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number, *size), "rgb24")
            frame.pts = times_ms[number] if times_ms else number * 1000 // fps
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    def make(name: str = "clip.mp4", **options: object) -> Path:
        return write_video(tmp_path / name, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def read_number() -> Callable[[np.ndarray], int]:
    return number_of


@pytest.fixture
def make_picture() -> Callable[..., np.ndarray]:
    return numbered_picture
