"""What every kind of source implements: open, hand out pictures one by one, close."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import NamedTuple

from kinestream.capture.frame import SourceInfo
from kinestream.kernels.array_types import RgbImage


class Picture(NamedTuple):
    """A decoded picture: capture time on the source's clock, and pixels (H, W, 3) uint8 RGB, upright."""

    t_capture_ns: int
    image_rgb: RgbImage


class Decoder(ABC):
    """Blocking, single-threaded access to a source. `FrameSource` runs it in a thread of its own.

    Attributes:
        name: for messages.
        corrupt: packets and pictures that could not be decoded so far.
    """

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

    @abstractmethod
    def close(self) -> None:
        """Let go of the device or file; may be called twice."""

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
