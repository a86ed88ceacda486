"""Video files, network streams and driver devices through FFmpeg's libraries (PyAV)."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from kinestream.capture.clock import StreamClock
from kinestream.capture.decoder import Decoder, Picture
from kinestream.capture.errors import SourceLostError, SourceNotFoundError, UnreadableSourceError
from kinestream.capture.frame import SourceInfo
from kinestream.kernels.array_types import RgbImage

log = logging.getLogger(__name__)

MAX_PIXELS = 1 << 26
"""Larger pictures are taken for a damaged header (64 megapixels, 8K is 33)."""
_NOMINAL_FPS = Fraction(25)
_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    -180: cv2.ROTATE_180,
    -90: cv2.ROTATE_90_CLOCKWISE,
    270: cv2.ROTATE_90_CLOCKWISE,
}


class AvDecoder(Decoder):
    """A file, address or device that FFmpeg opens.

    A stream without a known duration is live. Pictures of a file carry its own presentation times;
    those of a live stream are placed on the monotonic clock (`StreamClock`). Pictures are turned
    upright as the file says (phones store them as the sensor lies). Packets that cannot be decoded
    and pictures known to be damaged are counted in ``corrupt`` and left out.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        name: str | None = None,
        container_format: str | None = None,
        options: Mapping[str, str] | None = None,
        live: bool | None = None,
        open_timeout_s: float = 10.0,
        read_timeout_s: float = 5.0,
    ) -> None:
        super().__init__(name or str(url))
        self._url = str(url)
        self._format = container_format
        self._options = dict(options or {})
        self._live_given = live
        self._timeouts = (open_timeout_s, read_timeout_s)
        self._container: av.container.InputContainer | None = None
        self._live = bool(live)
        self._first: Picture | None = None

    def open(self) -> SourceInfo:
        """Open the container and its first video stream."""
        self.close()
        try:
            container = av.open(self._url, format=self._format, options=self._options, timeout=self._timeouts)
        except (av.error.FileNotFoundError, av.error.HTTPNotFoundError) as error:
            reason = _reason(error)
            raise SourceNotFoundError(f"{self.name}: no such file, device or address ({reason})") from error
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise UnreadableSourceError(
                f"{self.name}: cannot be opened as video ({_reason(error)}); it may be cut off, damaged, "
                "protected or no video at all"
            ) from error
        self._container = container
        if not container.streams.video:
            kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
            self.close()
            raise UnreadableSourceError(f"{self.name}: expected a video stream, found {', '.join(kinds)}")
        stream = container.streams.video[0]
        self._live = container.duration is None if self._live_given is None else self._live_given
        context = stream.codec_context
        if context is None:
            self.close()
            raise UnreadableSourceError(f"{self.name}: no decoder for its video; convert it to H.264 first")
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.thread_type = "SLICE" if self._live else "AUTO"  # threads by frame delay a live picture
        context.thread_count = min(4, os.cpu_count() or 1)
        rate = stream.guessed_rate or stream.average_rate
        self._period_ns = round(1_000_000_000 / (rate or _NOMINAL_FPS))
        self._last_ns: int | None = None
        self._clock = StreamClock()
        self._reformatter = VideoReformatter()
        self._frames = self._decode(container, stream)
        first = self._picture()
        if first is None:
            self.close()
            raise UnreadableSourceError(
                f"{self.name}: not one picture could be decoded ({self.corrupt} damaged packets); the file "
                "may be cut off or encrypted"
            )
        self._first = first
        height, width = first.image_rgb.shape[:2]
        return SourceInfo(
            name=self.name,
            width_px=width,
            height_px=height,
            fps=float(rate) if rate else None,
            frame_count=stream.frames or None,
            live=self._live,
            clock="monotonic" if self._live else "media",
            detail=f"{container.format.name}, {context.name} {stream.pix_fmt or 'unknown pixels'}",
        )

    def next_picture(self) -> Picture | None:
        """The next upright picture; None at the end of a file."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        picture = self._picture()
        if picture is None and self._live:
            raise SourceLostError(f"{self.name}: the stream ended")
        return picture

    def close(self) -> None:
        """Close the container."""
        self._first = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _picture(self) -> Picture | None:
        """The next frame that is whole, upright; None where no more comes."""
        for frame in self._frames:
            if frame.is_corrupt:
                self.corrupt += 1
                continue
            try:
                image = self._upright_rgb(frame)
            except (av.error.FFmpegError, ValueError, MemoryError) as error:
                log.debug("%s: picture without usable pixels: %s", self.name, error)
                self.corrupt += 1
                continue
            return Picture(self._time_ns(frame), image)
        return None

    def _decode(self, container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """All frames that decode; whatever does not is counted."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError, ValueError) as error:
                if self._live:
                    raise SourceLostError(f"{self.name}: the stream broke off ({_reason(error)})") from error
                log.warning("%s: damaged from here on, the rest is skipped (%s)", self.name, error)
                self.corrupt += 1
                packet = None
            if packet is None:
                break
            try:
                frames = stream.decode(packet)
            except (av.error.FFmpegError, ValueError) as error:
                log.debug("%s: packet left out: %s", self.name, error)
                self.corrupt += 1
                continue
            yield from frames
        try:
            yield from stream.decode(None)
        except (av.error.FFmpegError, ValueError) as error:
            log.debug("%s: nothing left in the decoder: %s", self.name, error)

    def _upright_rgb(self, frame: VideoFrame) -> RgbImage:
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        plane = rgb.planes[0]  # kept alive by the array, which saves a copy of the whole picture
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        image = np.ascontiguousarray(rows[: rgb.height, : 3 * rgb.width]).reshape(rgb.height, rgb.width, 3)
        turn = _TURNS.get(frame.rotation)
        upright: RgbImage = image if turn is None else cv2.rotate(image, turn)  # type: ignore[assignment]
        return upright

    def _time_ns(self, frame: VideoFrame) -> int:
        """Capture time of a frame; where its stamp is missing or runs backwards, one period on."""
        now_ns = time.monotonic_ns()
        stamp: int | None = None
        if frame.pts is not None and frame.time_base:
            base = frame.time_base
            stamp = frame.pts * base.numerator * 1_000_000_000 // base.denominator
        if self._live:
            stamp = now_ns if stamp is None else self._clock.capture_time_ns(stamp, now_ns)
        if self._last_ns is not None and (stamp is None or stamp <= self._last_ns):
            stamp = self._last_ns + (1 if self._live else self._period_ns)
        self._last_ns = stamp if stamp is not None else 0
        return self._last_ns


def _reason(error: Exception) -> str:
    """What FFmpeg says, without the address, which may hold a password."""
    return getattr(error, "strerror", None) or type(error).__name__
