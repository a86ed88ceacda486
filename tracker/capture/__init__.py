"""Frames from anywhere: cameras, video files, network streams and picture folders.

with open_source("clip.mp4") as source:
    for frame in source:
        print(frame.t_capture_ns, frame.image_rgb.shape)
"""

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
from kinestream.capture.open import open_source
from kinestream.capture.orientation import Orientation, PictureGeometry
from kinestream.capture.source import FrameSource
from kinestream.capture.webcam import CameraMode, list_cameras

__all__ = [
    "CameraMode",
    "CaptureError",
    "Clock",
    "Decoder",
    "Frame",
    "FrameSource",
    "FrameTimeoutError",
    "Orientation",
    "PictureGeometry",
    "Policy",
    "SourceInfo",
    "SourceLostError",
    "SourceNotFoundError",
    "StaleFrameError",
    "UnreadableSourceError",
    "list_cameras",
    "open_source",
]
