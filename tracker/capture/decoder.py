"""What every kind of source implements: open, hand out pictures one by one, close."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import NamedTuple

from kinestream.capture.frame import SourceInfo
from kinestream.kernels.array_types import RgbImage


class Piece(NamedTuple):
    """What is wanted of a file, in seconds from its beginning; ``end_s`` None means to its end."""

    start_s: float = 0.0
    end_s: float | None = None


WHOLE = Piece()


class Picture(NamedTuple):
    """A picture as a player shows it: capture time on the source's clock, and pixels (H, W, 3) uint8 RGB."""

    t_capture_ns: int
    image_rgb: RgbImage


class Decoder(ABC):
    """Blocking, single-threaded access to a source. `FrameSource` runs it in a thread of its own.

    Attributes:
        name: for messages.
        corrupt: packets and pictures that could not be decoded so far.
        remote: a camera or address, which may come later or come back.
    """

    remote = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.corrupt = 0

    @abstractmethod
    def open(self) -> SourceInfo:
        """Open or, after `close`, open again. Raises ``CaptureError``."""

    @abstractmethod
    def next_picture(self) -> Picture | None:
        """The next picture, or None at the end.

        Raises ``SourceLostError`` where a live source breaks off.
        """

    @property
    def jitter_ms(self) -> float | None:
        """Usual error of a picture's arrival; None where there is none or it is not known yet."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of the device or file; may be called twice."""

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
