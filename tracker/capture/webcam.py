"""Cameras of this computer: FFmpeg's device layer first, OpenCV where that does not work."""

import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import cv2

from kinestream.capture.av_source import AvDecoder
from kinestream.capture.decoder import Decoder, Picture
from kinestream.capture.errors import CaptureError, SourceLostError, SourceNotFoundError
from kinestream.capture.frame import SourceInfo
from kinestream.kernels.array_types import RgbImage

log = logging.getLogger(__name__)

_STAMP_TOLERANCE_NS = 1_000_000_000
_SYSFS = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class CameraMode:
    """What is asked of a camera; the driver answers with the nearest mode it has."""

    width_px: int = 1280
    height_px: int = 720
    fps: float = 30.0

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px} at {self.fps:g} fps"


@dataclass(frozen=True)
class CameraDevice:
    """One camera of this computer: what to pass as source, and what the driver calls it."""

    source: str
    description: str


_SILENT = "{}: delivers no more pictures; was it unplugged, or taken by another program?"


class WebcamDecoder(Decoder):
    """Camera number ``camera`` or a device path, through PyAV or, if that fails, OpenCV."""

    remote = True

    def __init__(self, camera: int | str, *, mode: CameraMode | None = None) -> None:
        super().__init__(f"camera {camera}")
        self._camera = camera
        self._mode = mode or CameraMode()
        self._backend: Decoder | None = None

    def open(self) -> SourceInfo:
        """Open the camera and log what it agreed to."""
        self.close()
        failures = []
        for backend in _backends(self._camera, self._mode):
            try:
                info = backend.open()
            except CaptureError as error:
                failures.append(str(error))
                continue
            self._backend = backend
            differs = (info.width_px, info.height_px) != (self._mode.width_px, self._mode.height_px)
            log.log(logging.WARNING if differs else logging.INFO, "%s, asked for %s", info, self._mode)
            return info
        raise SourceNotFoundError(
            f"{self.name}: cannot be opened; is it plugged in, free, and readable by you? "
            f"`kinestream cameras` lists what is there. Tried: {'; '.join(dict.fromkeys(failures))}"
        )

    def next_picture(self) -> Picture | None:
        """The next picture of the camera."""
        if self._backend is None:
            raise SourceLostError(f"{self.name}: is not open")
        picture = self._backend.next_picture()
        self.corrupt += self._backend.corrupt
        self._backend.corrupt = 0
        return picture

    @property
    def jitter_ms(self) -> float | None:
        """That of the backend which opened."""
        return self._backend.jitter_ms if self._backend else None

    def close(self) -> None:
        """Free the camera."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None


class OpenCvDecoder(Decoder):
    """A camera through OpenCV's ``VideoCapture``; works everywhere, stamps less exactly."""

    def __init__(self, camera: int | str, *, mode: CameraMode) -> None:
        super().__init__(f"camera {camera} (OpenCV)")
        self._camera = camera
        self._mode = mode
        self._capture: Any = None

    def open(self) -> SourceInfo:
        """Open the camera and ask for the mode."""
        self._capture = cv2.VideoCapture(self._camera)
        if not self._capture.isOpened():
            self.close()
            raise SourceNotFoundError(f"{self.name}: not there, or used by another program")
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._mode.width_px)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._mode.height_px)
        self._capture.set(cv2.CAP_PROP_FPS, self._mode.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return SourceInfo(
            name=self.name,
            width_px=int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height_px=int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=self._capture.get(cv2.CAP_PROP_FPS) or None,
            frame_count=None,
            live=True,
            clock="monotonic",
            detail=self._capture.getBackendName(),
        )

    def next_picture(self) -> Picture | None:
        """Wait for a picture; its time is the driver's where that is on our clock, else its arrival."""
        if not self._capture.grab():
            raise SourceLostError(_SILENT.format(self.name))
        now_ns = time.monotonic_ns()
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        on_our_clock = 0 <= now_ns - stamp_ns < _STAMP_TOLERANCE_NS
        ok, image = self._capture.retrieve()
        if not ok:
            raise SourceLostError(_SILENT.format(self.name))
        rgb: RgbImage = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return Picture(stamp_ns if on_our_clock else now_ns, rgb)

    def close(self) -> None:
        """Free the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def list_cameras() -> tuple[CameraDevice, ...]:
    """The cameras of this computer, without opening them."""
    if sys.platform.startswith("linux"):
        nodes = sorted(_SYSFS.glob("video*"), key=lambda node: int(node.name[5:])) if _SYSFS.exists() else []
        # A camera has several nodes; the first carries its pictures.
        return tuple(
            CameraDevice(f"/dev/{node.name}", (node / "name").read_text().strip())
            for node in nodes
            if (node / "index").read_text().strip() == "0"
        )
    device_format = {"darwin": "avfoundation", "win32": "dshow"}.get(sys.platform)
    try:
        found = av.enumerate_input_devices(device_format) if device_format else []
    except (av.error.FFmpegError, ValueError) as error:
        log.debug("FFmpeg cannot list cameras: %s", error)
        found = []
    videos = [device for device in found if "video" in device.media_types]
    return tuple(CameraDevice(str(i), device.description) for i, device in enumerate(videos))


def _backends(camera: int | str, mode: CameraMode) -> list[Decoder]:
    """Ways to open a camera on this system, best first."""
    common = {"video_size": f"{mode.width_px}x{mode.height_px}", "framerate": f"{mode.fps:g}"}
    backends: list[Decoder] = []
    if sys.platform.startswith("linux"):
        device = f"/dev/video{camera}" if isinstance(camera, int) else camera
        for pixels in ({"input_format": "mjpeg"}, {}):  # raw pixels at 720p exceed USB 2
            options = {**common, "timestamps": "default", **pixels}
            backends.append(
                AvDecoder(
                    device, name=f"camera {device}", container_format="v4l2", options=options, live=True
                )
            )
    elif sys.platform == "darwin":
        options = {**common, "pixel_format": "nv12"}
        backends.append(
            AvDecoder(f"{camera}:none", container_format="avfoundation", options=options, live=True)
        )
    elif sys.platform == "win32" and isinstance(camera, int) and camera < len(list_cameras()):
        device = f"video={list_cameras()[camera].description}"
        backends.append(AvDecoder(device, container_format="dshow", options=common, live=True))
    return [*backends, OpenCvDecoder(camera, mode=mode)]
