"""Frames in the viewer Rerun, live or as a file for later. Needs the extra ``view``.

Paths: ``camera`` (pinhole with frustum), ``camera/image`` (picture, boxes, keypoints), ``people/<id>/mesh``,
``/skeleton``, ``/uncertainty`` (a standard deviation to both sides of each joint), and the plots
``plots/latency_ms``, ``plots/uncertainty_mm/<id>``. Positions are metres in the camera frame.
"""

import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_EDGES, PARENTS
from kinestream.capture import Frame
from kinestream.geometry.camera import Camera
from kinestream.kernels.raster.overlay import PALETTE
from kinestream.pose import Person, PoseFrame
from kinestream.tools.extras import optional_module
from kinestream.tools.sinks.base import Sink, SinkError, WholeFile, naming
from kinestream.tools.web.scene import error_bars

JPEG_QUALITY: Final = 85
CONFIDENT: Final = 0.3
FRUSTUM_M: Final = 0.6
BONES: Final = tuple((joint, parent) for joint, parent in enumerate(PARENTS) if parent >= 0)


class RerunSink(Sink):
    """Shows frames in a viewer window, or writes them to an ``.rrd`` file."""

    def __init__(self, faces: npt.NDArray[np.int64] | None, *, path: Path | None = None) -> None:
        """Open the window, or the file where there is a ``path``.

        Args:
            faces: (F, 3) of the body, for frames with ``vertices_cam_m``.
            path: file to write instead.

        Raises ``MissingExtraError`` without the extra, ``SinkError`` where the viewer does not start and
        ``OSError`` for the file.
        """
        self._rerun: Any = optional_module("rerun", extra="view", purpose="the viewer")
        self.name = str(path) if path else "the viewer"
        self._faces = faces
        self._stream: Any = self._rerun.RecordingStream("kinestream")
        self._camera: Camera | None = None
        self._shown: set[int] = set()
        self._file: WholeFile | None = None
        if path is not None:
            self._file = WholeFile(path)  # the library itself keeps quiet where it cannot write
            self._binary = self._stream.binary_stream()
        else:
            try:
                self._stream.spawn()
            except RuntimeError as error:
                raise SinkError(f"the viewer does not start ({error}); write a file with --rrd") from error
        self._log("/", self._rerun.ViewCoordinates.RDF, static=True)

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Show one frame with its picture."""
        self.show(poses, _jpeg(frame.image_rgb), latency_ms=(time.monotonic_ns() - frame.t_ready_ns) / 1e6)

    def show(self, poses: PoseFrame, jpeg: bytes | None, *, latency_ms: float | None = None) -> None:
        """Show poses with a picture in JPEG, where there is one."""
        rerun = self._rerun
        self._stream.set_time("frame", sequence=poses.frame_index)
        self._stream.set_time("capture", duration=poses.t_capture_ns / 1e9)
        if poses.camera != self._camera:
            self._camera = poses.camera
            size = (poses.camera.width_px, poses.camera.height_px)
            pinhole = rerun.Pinhole(
                image_from_camera=poses.camera.K, resolution=size, image_plane_distance=FRUSTUM_M
            )
            self._log("camera", pinhole)
        if jpeg is not None:
            self._log("camera/image", rerun.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        if latency_ms is not None:
            self._log("plots/latency_ms", rerun.Scalars(latency_ms))
        for person in poses:
            self._person(person)
        for gone in self._shown - {person.track_id for person in poses}:
            self._log(f"people/{gone}", rerun.Clear(recursive=True))
            self._log(f"camera/image/{gone}", rerun.Clear(recursive=True))
        self._shown = {person.track_id for person in poses}
        self._write()

    def close(self) -> None:
        """Send, or write, what is left."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            stream.flush()
            self._write()
        finally:
            stream.disconnect()
            if self._file is not None:
                with naming(self.name):
                    self._file.close()

    def _write(self) -> None:
        """Hand to the file what the library has ready."""
        if self._file is not None and self._file.error is None:
            with naming(self.name):
                self._file.write(self._binary.read() or b"")

    def _person(self, person: Person) -> None:
        rerun, place = self._rerun, f"people/{person.track_id}"
        colour = PALETTE[person.track_id % len(PALETTE)]
        joints = person.joints_cam_m
        bones = rerun.LineStrips3D([[joints[a], joints[b]] for a, b in BONES], colors=[colour], radii=0.01)
        self._log(f"{place}/skeleton", bones)
        bars = rerun.LineStrips3D(error_bars(person), colors=[(*colour, 60)], radii=0.004)
        self._log(f"{place}/uncertainty", bars)
        if person.vertices_cam_m is not None and self._faces is not None:
            mesh = rerun.Mesh3D(
                vertex_positions=person.vertices_cam_m, triangle_indices=self._faces, albedo_factor=colour
            )
            self._log(f"{place}/mesh", mesh)
        picture = f"camera/image/{person.track_id}"
        x0, y0, x1, y1 = person.box_xyxy_px
        label = f"{person.track_id} ({person.state}, {person.score:.2f})"
        box = rerun.Boxes2D(mins=[[x0, y0]], sizes=[[x1 - x0, y1 - y0]], labels=[label], colors=[colour])
        self._log(f"{picture}/box", box)
        sure = person.keypoints_px[:, 2] > CONFIDENT
        points = person.keypoints_px[:, :2]
        self._log(f"{picture}/keypoints", rerun.Points2D(points[sure], colors=[colour], radii=3))
        limbs = [[points[a], points[b]] for a, b in KEYPOINT_EDGES if sure[a] and sure[b]]
        self._log(f"{picture}/limbs", rerun.LineStrips2D(limbs, colors=[colour]))
        self._log(
            f"plots/uncertainty_mm/{person.track_id}", rerun.Scalars(1000 * float(person.joint_std_m.mean()))
        )

    def _log(self, path: str, what: Any, *, static: bool = False) -> None:
        self._stream.log(path, what, static=static)


def _jpeg(image_rgb: npt.NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data.tobytes())
