"""Kinestream: any camera or video in, a live stream of 3D human poses and body shapes out.

The names below are the public interface. They are loaded on first use, so that ``import kinestream``
is quick and pulls in nothing that is not asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kinestream.body.model import BodyModel, BodyOutput, load_body
    from kinestream.capture import CaptureError, Frame, FrameSource, open_source
    from kinestream.geometry.calibration import load_camera
    from kinestream.geometry.camera import Camera
    from kinestream.models import Models
    from kinestream.pipeline import Tracker
    from kinestream.pose import Person, PoseError, PoseFrame
    from kinestream.stream import PoseMessage, Publisher, Subscriber

__version__ = "0.1.0"

_HOME = {
    "BodyModel": "kinestream.body.model",
    "BodyOutput": "kinestream.body.model",
    "Camera": "kinestream.geometry.camera",
    "CaptureError": "kinestream.capture",
    "Frame": "kinestream.capture",
    "FrameSource": "kinestream.capture",
    "Models": "kinestream.models",
    "Person": "kinestream.pose",
    "PoseError": "kinestream.pose",
    "PoseFrame": "kinestream.pose",
    "PoseMessage": "kinestream.stream",
    "Publisher": "kinestream.stream",
    "Subscriber": "kinestream.stream",
    "Tracker": "kinestream.pipeline",
    "load_body": "kinestream.body.model",
    "load_camera": "kinestream.geometry.calibration",
    "open_source": "kinestream.capture",
}

__all__ = [
    "BodyModel", "BodyOutput", "Camera", "CaptureError", "Frame", "FrameSource", "Models", "Person",
    "PoseError", "PoseFrame", "PoseMessage", "Publisher", "Subscriber", "Tracker", "load_body",
    "load_camera", "open_source",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'kinestream' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
