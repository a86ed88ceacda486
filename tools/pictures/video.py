"""RgbImages at a fixed rate as a video file or a moving picture."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from kinestream.kernels.array_types import RgbImage


def write_video(
    path: Path, pictures: Iterable[RgbImage], *, fps: float | Fraction, codec: str, options: dict[str, str]
) -> None:
    """Encode pictures of one size (yuv420p); a WebP plays for ever. Raises ``OSError``."""
    container_options = {"loop": "0"} if path.suffix == ".webp" else {}
    first, *rest = pictures
    with av.open(f"file:{path}", "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in chain([first], rest):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
