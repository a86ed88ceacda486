"""The picture with the tracked bodies drawn over it, as a video file."""

from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import numpy.typing as npt

from kinestream.capture import Frame
from kinestream.kernels.raster.overlay import PALETTE, overlay_meshes
from kinestream.pose import PoseFrame
from kinestream.tools.sinks.base import Sink, SinkError, WholeFile, naming

TIME_BASE = Fraction(1, 90_000)
_COASTING = (150, 150, 150)
_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "g": "30"}  # without reordering, times start at 0
# In pieces that each can be read on their own, so that a recording cut short still plays.
_CONTAINER = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


class OverlayVideoSink(Sink):
    """An H.264 file with the pictures' own times. Needs frames with ``vertices_cam_m``."""

    def __init__(self, path: str | Path, faces: npt.NDArray[np.int64], *, fps: float | None = None) -> None:
        """Create the file.

        Args:
            path: ``.mp4``, ``.mkv`` or what else FFmpeg writes.
            faces: (F, 3) of the body.
            fps: nominal rate, for players.

        Raises ``OSError``.
        """
        self.name = str(path)
        self._faces = faces
        self._fps = Fraction(fps or 30).limit_denominator(1001)
        self._file = WholeFile(path)  # FFmpeg itself keeps quiet where it cannot write
        try:
            self._container = av.open(self._file, "w", container_options=_CONTAINER)
        except (av.error.FFmpegError, ValueError) as error:
            self._file.close()
            raise SinkError(
                f"{path}: not a kind of video that can be written; use a name ending in .mp4"
            ) from error
        self._stream: av.VideoStream | None = None
        self._first_ns = 0
        self._last_pts = -1
        self._closed = False

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Draw and add one picture."""
        image = draw(frame.image_rgb, poses, self._faces)
        if self._stream is None:
            self._stream = self._new_stream(image.shape[1], image.shape[0])
            self._first_ns = poses.t_capture_ns
        stream = self._stream
        if (image.shape[1], image.shape[0]) != (stream.width, stream.height):
            image = cv2.resize(image, (stream.width, stream.height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        picture = av.VideoFrame.from_ndarray(image, "rgb24")
        pts = round((poses.t_capture_ns - self._first_ns) * TIME_BASE.denominator / 1_000_000_000)
        self._last_pts = picture.pts = max(pts, self._last_pts + 1)
        picture.time_base = TIME_BASE
        self._mux(stream, picture)

    def close(self) -> None:
        """Complete the file."""
        if self._closed:
            return
        self._closed = True
        with naming(self.name):
            try:
                if self._stream is not None and self._file.error is None:
                    self._mux(self._stream, None)
            finally:
                try:
                    self._container.close()
                finally:
                    self._file.close()

    def _new_stream(self, width: int, height: int) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self._fps, options=_OPTIONS)
        stream.width, stream.height = width - width % 2, height - height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        return stream

    def _mux(self, stream: av.VideoStream, picture: av.VideoFrame | None) -> None:
        with naming(self.name):
            self._container.mux(stream.encode(picture))
            if self._file.error is not None:
                raise self._file.error


def draw(
    image_rgb: npt.NDArray[np.uint8], poses: PoseFrame, faces: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """The picture with every body over it, coloured and numbered by track; grey while coasting."""
    people = [person for person in poses if person.vertices_cam_m is not None]
    colours = [
        PALETTE[person.track_id % len(PALETTE)] if person.state == "tracked" else _COASTING
        for person in people
    ]
    vertices = [person.vertices_cam_m for person in people if person.vertices_cam_m is not None]
    image = image_rgb
    if people:
        image = overlay_meshes(image_rgb, vertices, faces, poses.camera.K, colours=colours)
    scale = max(0.5, image.shape[0] / 1080)
    for person, colour in zip(people, colours, strict=True):
        left, top = (int(v) for v in person.box_xyxy_px[:2])
        at = (max(0, left), max(int(30 * scale), top - int(8 * scale)))
        for thickness, ink in ((5, (0, 0, 0)), (2, colour)):
            cv2.putText(
                image, f"{person.track_id}", at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink,
                max(1, round(thickness * scale)), cv2.LINE_AA,
            )  # fmt: skip
    return image
