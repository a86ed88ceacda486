"""Pictures in files as a source: a folder, a printf pattern, or one picture."""

import itertools
import logging
import math
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from kinestream.capture.decoder import WHOLE, Decoder, Picture, Piece
from kinestream.capture.errors import CaptureError, SourceNotFoundError, UnreadableSourceError
from kinestream.capture.frame import SourceInfo
from kinestream.kernels.array_types import RgbImage

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
DEFAULT_FPS = 30.0
_PRINTF = re.compile(r"%(0?)(\d*)d")
_SPARSE = 100
"""More missing pictures than this for each one that is there, and the numbers are no count."""


def is_pattern(path: Path) -> bool:
    """Whether this is a printf pattern of picture names, as in ``shot_%04d.png``."""
    return len(_PRINTF.findall(path.name)) == 1 and path.suffix.lower() in SUFFIXES


class PictureDecoder(Decoder):
    """Pictures in natural order of their names (``2.png`` before ``10.png``), at ``fps`` per second.

    Where names differ in one number alone, a missing number is a missing picture: time goes on meanwhile.
    Pictures may differ in size and are turned upright as their EXIF data say. Those that cannot be
    read are counted in ``corrupt`` and keep their place in time. Hidden files, such as the ``._``
    companions that macOS leaves, are no pictures.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: float | None = None,
        piece: Piece = WHOLE,
    ) -> None:
        """``path`` is a folder, a picture or a printf pattern."""
        super().__init__(str(path))
        if fps is not None and not fps > 0:
            raise ValueError(f"fps: expected a positive number of pictures per second, found {fps}")
        self._path = Path(path)
        self._fps_given, self._fps = fps, fps or DEFAULT_FPS
        self._piece = piece
        self._pictures: list[tuple[int, Path]] = []
        self._next = 0

    def open(self) -> SourceInfo:
        """List the pictures and look at the first readable one."""
        files = sorted(self._files(), key=_natural_order)
        if not files:
            raise self._nothing()
        start_s, end_s = self._piece
        end_s = math.inf if end_s is None else end_s
        places = self._places(files)
        self._pictures = [
            (n, f) for n, f in zip(places, files, strict=True) if start_s <= n / self._fps <= end_s
        ]
        if not self._pictures:
            raise UnreadableSourceError(
                f"{self._path}: no picture between --start and --end; the last of its {len(files)} is at "
                f"{places[-1] / self._fps:.2f} s, at {self._fps:g} pictures a second"
            )
        first = next((image for _, f in self._pictures if (image := _read(f)) is not None), None)
        if first is None:
            raise UnreadableSourceError(
                f"{self._path}: none of its {len(self._pictures)} pictures can be read; does a viewer show "
                f"{self._pictures[0][1].name}?"
            )
        if self._fps_given is None and len(self._pictures) > 1:
            log.info("%s: taken for %g pictures a second; --fps says otherwise", self.name, self._fps)
        self._next = 0
        height, width = first.shape[:2]
        return SourceInfo(
            name=self.name,
            width_px=width,
            height_px=height,
            fps=self._fps,
            frame_count=len(self._pictures),
            live=False,
            clock="media",
            detail="pictures",
            single_picture=len(files) == 1,
        )

    def next_picture(self) -> Picture | None:
        """The next picture that can be read."""
        while self._next < len(self._pictures):
            place, path = self._pictures[self._next]
            self._next += 1
            image = _read(path)
            if image is not None:
                return Picture(round(place * 1_000_000_000 / self._fps), image)
            self.corrupt += 1
        return None

    def close(self) -> None:
        """Forget the list of pictures."""
        self._pictures = []

    def _files(self) -> list[Path]:
        if self._path.is_file():
            return [self._path]
        if self._path.is_dir():
            return [f for f in self._path.iterdir() if _is_picture(f)]
        if not is_pattern(self._path) or not self._path.parent.is_dir():
            raise SourceNotFoundError(f"{self._path}: no such picture or folder; check how it is written")
        (padding, width) = _PRINTF.findall(self._path.name)[0]
        before, after = (re.escape(part) for part in _PRINTF.split(self._path.name)[::3])
        digits = rf"\d{{{width},}}" if padding and width else r"\d+"
        fitting = re.compile(f"{before}{digits}{after}")
        return [f for f in self._path.parent.iterdir() if fitting.fullmatch(f.name)]

    def _places(self, files: list[Path]) -> list[int]:
        """Of each picture its place in time, in pictures, from 0."""
        plain = list(range(len(files)))
        names = [re.split(r"(\d+)", f.name) for f in files]
        if len({len(name) for name in names}) > 1:
            return plain
        changing = [i for i in range(len(names[0])) if len({name[i] for name in names}) > 1]
        if len(changing) != 1 or changing[0] % 2 == 0:
            return plain
        numbers = [int(name[changing[0]]) for name in names]
        step = math.gcd(*(b - a for a, b in itertools.pairwise(numbers)))
        if step == 0:
            return plain
        places = [(number - numbers[0]) // step for number in numbers]
        if places[-1] > _SPARSE * len(files):
            log.warning(
                "%s: the numbers in its names leap too far for a count; taken without gaps", self.name
            )
            return plain
        if missing := places[-1] + 1 - len(files):
            log.warning(
                "%s: pictures missing: %d; each number that is left out is a gap in time", self.name, missing
            )
        return places

    def _nothing(self) -> CaptureError:
        wanted = f"expected pictures ({', '.join(sorted(SUFFIXES))})"
        if not self._path.is_dir():
            return SourceNotFoundError(
                f"{self._path}: no picture has such a name; looked in {self._path.parent.resolve()}"
            )
        there = Counter(f.suffix.lower() for f in self._path.iterdir() if not f.name.startswith("."))
        if not there:
            return UnreadableSourceError(f"{self._path}: {wanted}, found none: the folder is empty")
        kinds = ", ".join(f"{count} {suffix or 'without ending'}" for suffix, count in there.most_common(4))
        return UnreadableSourceError(
            f"{self._path}: {wanted}, found none, but {kinds}; for the videos of a folder there is "
            f"`kinestream batch {self._path} --out RESULTS`"
        )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


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
