"""A folder of pictures, or one picture, as a source."""

import re
from pathlib import Path

import cv2
import numpy as np

from kinestream.capture.decoder import Decoder, Picture
from kinestream.capture.errors import SourceNotFoundError, UnreadableSourceError
from kinestream.capture.frame import SourceInfo
from kinestream.kernels.array_types import RgbImage

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class ImageFolderDecoder(Decoder):
    """Pictures in natural order of their names (``2.png`` before ``10.png``), at ``fps`` per second.

    Pictures may differ in size and are turned upright as their EXIF data say. Those that cannot be
    read are counted in ``corrupt`` and keep their place in time.
    """

    def __init__(self, path: str | Path, *, fps: float = 30.0) -> None:
        super().__init__(str(path))
        if not fps > 0:
            raise ValueError(f"fps: expected a positive number of pictures per second, found {fps}")
        self._path = Path(path)
        self._fps = fps
        self._files: list[Path] = []
        self._next = 0

    def open(self) -> SourceInfo:
        """List the pictures and look at the first readable one."""
        if not self._path.exists():
            raise SourceNotFoundError(f"{self._path}: no such picture or folder")
        entries = [self._path] if self._path.is_file() else self._path.iterdir()
        self._files = sorted((f for f in entries if f.suffix.lower() in SUFFIXES), key=_natural_order)
        if not self._files:
            raise UnreadableSourceError(
                f"{self._path}: expected pictures ({', '.join(sorted(SUFFIXES))}), found none"
            )
        first = next((image for image in map(_read, self._files) if image is not None), None)
        if first is None:
            raise UnreadableSourceError(f"{self._path}: none of its {len(self._files)} pictures can be read")
        self._next = 0
        height, width = first.shape[:2]
        return SourceInfo(
            name=self.name,
            width_px=width,
            height_px=height,
            fps=self._fps,
            frame_count=len(self._files),
            live=False,
            clock="media",
            detail="pictures",
        )

    def next_picture(self) -> Picture | None:
        """The next picture that can be read."""
        while self._next < len(self._files):
            number, self._next = self._next, self._next + 1
            image = _read(self._files[number])
            if image is not None:
                return Picture(round(number * 1_000_000_000 / self._fps), image)
            self.corrupt += 1
        return None

    def close(self) -> None:
        """Forget the list of pictures."""
        self._files = []


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key by which numbers within names count as numbers."""
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _read(path: Path) -> RgbImage | None:
    try:
        encoded = np.frombuffer(path.read_bytes(), np.uint8)  # cv2.imread fails on non-ASCII paths
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except (OSError, cv2.error):
        return None
    if image is None:
        return None
    rgb: RgbImage = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    return rgb
