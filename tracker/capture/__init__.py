"""Frames from anywhere: cameras, video files, network streams and picture folders.

with open_source("clip.mp4") as source:
    for frame in source:
        print(frame.t_capture_ns, frame.image_rgb.shape)
"""

import re
from pathlib import Path

from kinestream.capture.av_source import AvDecoder
from kinestream.capture.decoder import Decoder
from kinestream.capture.errors import (
    CaptureError,
    FrameTimeoutError,
    SourceLostError,
    SourceNotFoundError,
    StaleFrameError,
    UnreadableSourceError,
)
from kinestream.capture.frame import Clock, Frame, SourceInfo
from kinestream.capture.frame_queue import Policy
from kinestream.capture.image_folder import SUFFIXES, ImageFolderDecoder
from kinestream.capture.source import FrameSource
from kinestream.capture.webcam import CameraMode, WebcamDecoder, list_cameras
from kinestream.redact import mask_secrets

__all__ = [
    "CameraMode",
    "CaptureError",
    "Clock",
    "Decoder",
    "Frame",
    "FrameSource",
    "FrameTimeoutError",
    "Policy",
    "SourceInfo",
    "SourceLostError",
    "SourceNotFoundError",
    "StaleFrameError",
    "UnreadableSourceError",
    "list_cameras",
    "open_source",
]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_RTSP_OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"}
_LIVE_OPTIONS = {"fflags": "nobuffer", "flags": "low_delay"}


def open_source(
    source: str | Path | int,
    *,
    policy: Policy | None = None,
    mode: CameraMode | None = None,
    folder_fps: float = 30.0,
    reconnect_s: float = 60.0,
) -> FrameSource:
    """Open a source of frames.

    Args:
        source: number of a camera (``0``) or its device path, a video file, an address (``rtsp://``,
            ``http://``, ``udp://``, ...), a folder of pictures or one picture.
        policy: see `kinestream.capture.frame_queue.Policy`; None means ``latest`` for live sources, ``every``
            for files.
        mode: size and rate to ask a camera for.
        folder_fps: pictures per second of a folder.
        reconnect_s: how long a lost live source is looked for.

    Raises ``CaptureError`` where it cannot be opened.
    """
    decoder = _decoder(source, mode, folder_fps)
    return FrameSource(decoder, policy=policy, reconnect_s=reconnect_s)


def _decoder(source: str | Path | int, mode: CameraMode | None, folder_fps: float) -> Decoder:
    text = str(source)
    if isinstance(source, int) or text.isdecimal():
        return WebcamDecoder(int(text), mode=mode)
    if text.startswith("/dev/video"):
        return WebcamDecoder(text, mode=mode)
    if _ADDRESS.match(text):
        rtsp = text.lower().startswith("rtsp")
        return AvDecoder(
            text,
            name=mask_secrets(text),
            options=_RTSP_OPTIONS if rtsp else _LIVE_OPTIONS,
            live=True if rtsp else None,
        )
    path = Path(source).expanduser()
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return ImageFolderDecoder(path, fps=folder_fps)
    if not path.exists():
        raise SourceNotFoundError(
            f"{text}: no such file or folder. A source is a video file, a folder of pictures, an address "
            "(rtsp://host/path) or the number of a camera (`kinestream cameras` lists them)"
        )
    return AvDecoder(path, live=False)
