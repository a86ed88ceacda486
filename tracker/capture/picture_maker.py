"""From decoded frames to what a player shows: whole, upright, square pixels, standard dynamic range, RGB."""

import logging
import struct
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, cast

import av.error
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from kinestream.capture.orientation import UPRIGHT, Orientation, PictureGeometry, unsquashed_size
from kinestream.kernels.array_types import RgbImage

log = logging.getLogger(__name__)

_HDR = frozenset({ColorTrc.SMPTE2084.value, ColorTrc.ARIB_STD_B67.value})
_NEARLY_SQUARE = 0.01
"""Pixels whose sides differ by less are left as they are."""
_WIDEST_PIXEL = 4.0
"""A larger aspect is taken for a damaged header."""


class PictureMaker:
    """Makes pictures of the frames of one stream.

    Attributes:
        geometry: what was done to the newest picture.
    """

    def __init__(self, name: str, stream: VideoStream) -> None:
        self.geometry = PictureGeometry()
        self._name = name
        self._stream = stream
        self._reformatter = VideoReformatter()
        self._warned: set[str] = set()
        self._seen: tuple[int, int, int] | None = None
        self._stored = UPRIGHT

    def image(self, frame: VideoFrame) -> RgbImage:
        """The picture (H, W, 3) as a player shows it. Raises ``FFmpegError`` or ``ValueError``."""
        aspect = self._pixel_aspect()
        self.geometry = PictureGeometry(aspect, self._orientation(frame))
        width, height = unsquashed_size(frame.width, frame.height, aspect)
        rgb = self._rgb(frame, width, height)
        plane = rgb.planes[0]  # kept alive by the array, which saves a copy of the whole picture
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        image = np.ascontiguousarray(rows[: rgb.height, : 3 * rgb.width]).reshape(rgb.height, rgb.width, 3)
        return self.geometry.stored.image(image)

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> VideoFrame:
        if frame.color_trc in _HDR and "HDR" not in self._warned:
            try:
                return self._reformatter.reformat(
                    frame,
                    width=width,
                    height=height,
                    format="rgb24",
                    dst_color_trc=ColorTrc.BT709,
                    dst_color_primaries=ColorPrimaries.BT709,
                    threads=1,
                )
            except (av.error.FFmpegError, ValueError) as error:
                self._reformatter = VideoReformatter()
                self._warn(
                    "HDR",
                    f"high dynamic range, which this FFmpeg cannot tone-map ({error}); poses will be less "
                    "accurate. Convert the video to SDR first, or film without HDR",
                )
        return self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)

    def _pixel_aspect(self) -> float:
        aspect = float(self._stream.sample_aspect_ratio or 1)
        if not 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL:
            self._warn(
                "aspect", f"its pixels are said to be {aspect:g} times as wide as high; taken for square"
            )
            return 1.0
        return 1.0 if abs(aspect - 1) < _NEARLY_SQUARE else aspect

    def _orientation(self, frame: VideoFrame) -> Orientation:
        seen = (frame.rotation, frame.width, frame.height)
        if seen != self._seen:  # side data tie a frame to itself: it would live until garbage is collected
            self._seen, self._stored = seen, self._read_orientation(frame)
        return self._stored

    def _read_orientation(self, frame: VideoFrame) -> Orientation:
        data = cast(Mapping[SideDataType, Any], frame.side_data).get(SideDataType.DISPLAYMATRIX)
        if data is None:
            return UPRIGHT
        orientation = Orientation.from_display_matrix(struct.unpack("=9i", bytes(data)[:36]))
        if orientation is None:
            self._warn("matrix", "asks to be shown at a slant, which is left undone; level it in an editor")
            return UPRIGHT
        return orientation

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("%s: %s", self._name, text)


class Deinterlacer:
    """Makes whole pictures of interlaced frames, at the rate of the frames; others pass untouched.

    It needs the frame after to do so: from the first interlaced frame on, each comes out one later.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._ends: tuple[FilterContext, FilterContext] | None = None
        self._kind: tuple[object, ...] = ()

    def frames(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """All frames, in order."""
        for frame in frames:
            kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
            if self._ends is not None and kind != self._kind:
                yield from self._rest()
            try:
                if self._ends is None and frame.interlaced_frame:
                    self._build(frame)
                    self._kind = kind
                if self._ends is not None:
                    self._ends[0].push(frame)
            except (av.error.FFmpegError, ValueError) as error:
                log.debug("left interlaced: %s", error)
                self._graph = self._ends = None
            if self._ends is None:
                yield frame
            else:
                yield from self._finished()
        yield from self._rest()

    def _build(self, frame: VideoFrame) -> None:
        graph = Graph()
        base = frame.time_base or Fraction(1, 1000)
        source = graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:"
            f"time_base={base.numerator}/{base.denominator}:"
            f"colorspace={frame.colorspace}:range={frame.color_range}",
        )
        sink = graph.add("buffersink")
        graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), sink).configure()
        self._graph, self._ends = graph, (source, sink)

    def _finished(self) -> Iterator[VideoFrame]:
        while self._ends is not None:
            try:
                yield self._ends[1].pull()  # type: ignore[misc]
            except (av.error.FFmpegError, ValueError) as error:
                if not isinstance(error, av.error.BlockingIOError | av.error.EOFError):
                    log.debug("frame lost while it was deinterlaced: %s", error)
                return

    def _rest(self) -> Iterator[VideoFrame]:
        if self._ends is not None:
            self._ends[0].push(None)
            yield from self._finished()
            self._graph = self._ends = None
