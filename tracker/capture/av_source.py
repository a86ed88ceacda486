"""Video files, network streams and driver devices through FFmpeg's libraries (PyAV)."""

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinestream.capture.av_errors import STANDARD_INPUT, opening_failed, reason
from kinestream.capture.clock import StreamClock
from kinestream.capture.decoder import WHOLE, Decoder, Picture, Piece
from kinestream.capture.errors import SourceLostError, UnreadableSourceError
from kinestream.capture.frame import SourceInfo
from kinestream.capture.picture_maker import Deinterlacer, PictureMaker

log = logging.getLogger(__name__)

MAX_PIXELS = 1 << 26
"""Larger pictures are taken for a damaged header (64 megapixels, 8K is 33)."""
_NOMINAL_FPS = Fraction(25)
_SEEK_MARGINS_S = (0.0, 2.0, 20.0, float("inf"))
_NO_TIMESTAMPS = 0x80
"""FFmpeg's AVFMT_NOTIMESTAMPS: times of such a container are invented."""
_HELD_PACKETS = {"mpegts": 2, "h264": 1, "hevc": 1, "m4v": 1, "mjpeg": 1}
"""A picture of such a live container is known to be whole only once so many more have begun to arrive."""
_HELD_IN_RTP = ("h264", "hevc", "mpeg4", "mpeg2video")
"""By one packet: FFmpeg looks for the beginning of the next picture, not for RTP's mark of the end."""
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails


class AvDecoder(Decoder):
    """A file, address or device that FFmpeg opens.

    A stream without a known duration is live. Pictures of a file carry its own presentation times;
    those of a live stream are placed on the monotonic clock (`StreamClock`). Pictures are what a player
    shows (`PictureMaker`). Packets that cannot be decoded and pictures known to be damaged are counted
    in ``corrupt`` and left out.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        name: str | None = None,
        container_format: str | None = None,
        options: Mapping[str, str] | None = None,
        live: bool | None = None,
        fps: float | None = None,
        piece: Piece = WHOLE,
        open_timeout_s: float = 10.0,
        read_timeout_s: float = 5.0,
    ) -> None:
        """A ``Path`` is a file whatever its name looks like, a ``str`` an address or device.

        ``fps`` is the rate of raw video, which has no times.
        """
        super().__init__(name or str(url))
        self.remote = isinstance(url, str) and url != STANDARD_INPUT and live is not False
        self._path = url if isinstance(url, Path) else None
        self._url = f"file:{url}" if self._path else str(url)
        self._format = container_format
        self._options = dict(options or {})
        self._live_given = live
        self._fps = fps
        self._piece = piece
        self._timeouts = (open_timeout_s, read_timeout_s)
        self._container: av.container.InputContainer | None = None
        self._live = bool(live)
        self._first: Picture | None = None
        self._last_ns: int | None = None
        self._clock = StreamClock(self.name)

    def open(self) -> SourceInfo:
        """Open the container and the video stream that a player would show."""
        self.close()
        try:
            container = av.open(self._url, format=self._format, options=self._options, timeout=self._timeouts)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise opening_failed(self.name, self._url, error, path=self._path) from error
        self._container = container
        try:
            return self._start(container)
        except BaseException:
            self.close()
            raise

    def next_picture(self) -> Picture | None:
        """The next picture as a player shows it; None at the end of a file."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        picture = self._picture()
        if picture is None and self._live and self._url != STANDARD_INPUT:
            raise SourceLostError(f"{self.name}: the stream ended")
        return picture

    def close(self) -> None:
        """Close the container."""
        self._first = None
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def jitter_ms(self) -> float | None:
        """Usual error of a picture's arrival at a live source; see `StreamClock`."""
        return self._clock.jitter_ms if self._live else None

    def _start(self, container: av.container.InputContainer) -> SourceInfo:
        stream = self._film(container)
        self._live = container.duration is None if self._live_given is None else self._live_given
        if self._live and self._piece != WHOLE:
            raise ValueError(f"--start, --end: {self.name} is live; only files have a beginning and an end")
        context = stream.codec_context
        if context is None:
            raise UnreadableSourceError(f"{self.name}: no decoder for its video; convert it to H.264 first")
        if context.width * context.height > MAX_PIXELS:
            raise UnreadableSourceError(
                f"{self.name}: its pictures have {context.width}x{context.height} px, and more than "
                f"{MAX_PIXELS / 1e6:.0f} megapixels are not read; scale it down first: "
                "ffmpeg -i IN -vf scale=1920:-2 OUT"
            )
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.thread_type = "SLICE" if self._live else "AUTO"  # threads by frame delay a live picture
        context.thread_count = min(4, os.cpu_count() or 1)
        timeless = bool(container.format.flags & _NO_TIMESTAMPS)
        rate = stream.guessed_rate or stream.average_rate
        if timeless:
            if self._live:
                rate = None
            elif self._fps is not None:
                rate = Fraction(self._fps).limit_denominator(1001)
            else:
                log.warning(
                    "%s: holds no times; taken for %.4g pictures a second, --fps says otherwise",
                    self.name,
                    rate or _NOMINAL_FPS,
                )
        elif self._fps is not None and not self._live:
            log.warning("%s: has times of its own; --fps %g is not used", self.name, self._fps)
        self._timeless = timeless
        self._count = 0
        self._period_ns = round(1_000_000_000 / (rate or _NOMINAL_FPS))
        if not self._live:
            self._last_ns = None
        self._clock = StreamClock(self.name, arrival=timeless)
        self._arrival_ns = time.monotonic_ns()
        self._maker = PictureMaker(self.name, stream)
        self._cut(container, stream)
        self._frames = Deinterlacer().frames(self._decode(container, stream))
        self._first = first = self._picture()
        if first is None:
            raise UnreadableSourceError(self._why_nothing(container))
        height, width = first.image_rgb.shape[:2]
        detail = [container.format.name, f"{context.name} {stream.pix_fmt or 'unknown pixels'}"]
        return SourceInfo(
            name=self.name,
            width_px=width,
            height_px=height,
            fps=float(rate) if rate else None,
            frame_count=stream.frames or None if self._piece == WHOLE else None,
            live=self._live,
            clock="monotonic" if self._live else "media",
            detail=", ".join(detail + ["arrival times"] * (timeless and self._live)),
            geometry=self._maker.geometry,
        )

    def _film(self, container: av.container.InputContainer) -> VideoStream:
        """The stream that a player shows: never a cover, the default before others, then the largest."""
        films = [s for s in container.streams.video if not s.disposition & _NO_FILM]
        if not films:
            kinds = sorted({str(s.type) for s in container.streams}) or ["nothing"]
            cover = " (a cover picture)" if container.streams.video else ""
            page = "; is this the address of a page about the stream?" if self.remote else ""
            raise UnreadableSourceError(
                f"{self.name}: expected a video stream, found {', '.join(kinds)}{cover}{page}"
            )
        film = max(films, key=_prominence)
        if len(films) > 1:
            log.info("%s: has %d videos, stream %d is taken", self.name, len(films), film.index)
        for stream in container.streams:
            if stream is not film:
                stream.discard = Discard.all  # an HLS stream would fetch every rendition
        return film

    def _cut(self, container: av.container.InputContainer, stream: VideoStream) -> None:
        """Note first and last time that is wanted, and place the container before the first."""
        start_s, end_s = self._piece
        origin_us = container.start_time or 0
        self._begin_ns = origin_us * 1000 + round(start_s * 1e9) if start_s > 0 else None
        self._end_ns = None if end_s is None else origin_us * 1000 + round(end_s * 1e9)
        if self._begin_ns is None or self._timeless:
            return
        for margin_s in _SEEK_MARGINS_S:  # some containers cannot find the key frame before a time
            target_us = origin_us + round(max(start_s - margin_s, 0) * 1e6)
            try:
                container.seek(target_us)
                key = next((packet for packet in container.demux(stream) if packet.is_keyframe), None)
                container.seek(target_us)
            except (av.error.FFmpegError, OSError) as error:
                log.debug("%s: cannot seek, read from where it is: %s", self.name, error)
                return
            if key and key.pts is not None and key.time_base:
                if key.pts * key.time_base * 10**9 <= self._begin_ns:
                    return

    def _why_nothing(self, container: av.container.InputContainer) -> str:
        if self._piece != WHOLE and self.corrupt == 0:
            lasts = f"; it lasts {container.duration / av.time_base:.2f} s" if container.duration else ""
            return f"{self.name}: no picture between --start and --end{lasts}"
        advice = (
            "is the camera's stream encrypted? Try H.264 in its settings"
            if self._live
            else "the file may be cut off or encrypted; does a player show it?"
        )
        return f"{self.name}: not one picture could be decoded ({self.corrupt} damaged packets); {advice}"

    def _picture(self) -> Picture | None:
        """The next frame that is whole and within the piece that is wanted; None where no more comes."""
        for frame in self._frames:
            if frame.is_corrupt:
                self.corrupt += 1
                continue
            t_ns = self._time_ns(frame)
            if self._begin_ns is not None and t_ns < self._begin_ns:
                continue
            if self._end_ns is not None and t_ns > self._end_ns:
                return None
            try:
                return Picture(t_ns, self._maker.image(frame))
            except (av.error.FFmpegError, ValueError, MemoryError) as error:
                log.debug("%s: picture without usable pixels: %s", self.name, error)
                self.corrupt += 1
        return None

    def _decode(self, container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """All frames that decode; whatever does not is counted."""
        held = _held_packets(container, stream) if self._live else 0
        begun_ns: deque[int] = deque(maxlen=held + 1)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError, ValueError) as error:
                remote = self._path is None and not isinstance(error, av.error.InvalidDataError)
                if self._live or remote:
                    raise SourceLostError(f"{self.name}: the stream broke off ({reason(error)})") from error
                log.warning("%s: damaged from here on, the rest is skipped (%s)", self.name, reason(error))
                self.corrupt += 1
                packet = None
            if packet is None:
                break
            begun_ns.append(time.monotonic_ns())
            self._arrival_ns = begun_ns[0]
            try:
                frames = stream.decode(packet)
            except (av.error.FFmpegError, ValueError) as error:
                log.debug("%s: packet left out: %s", self.name, error)
                self.corrupt += 1
                continue
            if len(begun_ns) > held:  # of the first few it is not known when they arrived
                yield from frames
        try:
            yield from stream.decode(None)
        except (av.error.FFmpegError, ValueError) as error:
            log.debug("%s: nothing left in the decoder: %s", self.name, error)

    def _time_ns(self, frame: VideoFrame) -> int:
        """Capture time of a frame; where its stamp is missing or runs backwards, one period on."""
        stamp: int | None = None
        if frame.pts is not None and frame.time_base:
            base = frame.time_base
            stamp = frame.pts * base.numerator * 1_000_000_000 // base.denominator
        if self._live:
            stamp = self._clock.capture_time_ns(stamp, self._arrival_ns)
        elif self._timeless and self._fps is not None:
            stamp = self._count * self._period_ns
        self._count += 1
        if self._last_ns is not None and (stamp is None or stamp <= self._last_ns):
            stamp = self._last_ns + (1 if self._live else self._period_ns)
        self._last_ns = stamp if stamp is not None else 0
        return self._last_ns


def _held_packets(container: av.container.InputContainer, stream: VideoStream) -> int:
    """How many packets later than it arrived a picture is handed out."""
    kind = container.format.name
    if kind in ("rtsp", "rtp", "sdp"):
        return int(stream.codec_context.name in _HELD_IN_RTP)
    return _HELD_PACKETS.get(kind, 0)


def _prominence(stream: VideoStream) -> tuple[bool, int]:
    context = stream.codec_context  # None where there is no decoder for it
    return bool(stream.disposition & Disposition.default), context.width * context.height if context else 0
