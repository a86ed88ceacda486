"""Kinestream: any camera or video in, a live stream of 3D human poses and body shapes out.

The names below are the public interface. They are loaded on first use, so that ``import tracker``
is quick and pulls in nothing that is not asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.body.camera import Camera
    from tracker.body.model import BodyModel, BodyOutput, load_body
    from tracker.capture import CaptureError, Frame, FrameSource, open_source
    from tracker.models import Models
    from tracker.pipeline import Tracker
    from tracker.pose import Person, PoseError, PoseFrame
    from tracker.stream import PoseMessage, Publisher, Subscriber

__version__ = "0.1.0"

_HOME = {
    "BodyModel": "tracker.body.model",
    "BodyOutput": "tracker.body.model",
    "Camera": "tracker.body.camera",
    "CaptureError": "tracker.capture",
    "Frame": "tracker.capture",
    "FrameSource": "tracker.capture",
    "Models": "tracker.models",
    "Person": "tracker.pose",
    "PoseError": "tracker.pose",
    "PoseFrame": "tracker.pose",
    "PoseMessage": "tracker.stream",
    "Publisher": "tracker.stream",
    "Subscriber": "tracker.stream",
    "Tracker": "tracker.pipeline",
    "load_body": "tracker.body.model",
    "open_source": "tracker.capture",
}

__all__ = [
    "BodyModel",
    "BodyOutput",
    "Camera",
    "CaptureError",
    "Frame",
    "FrameSource",
    "Models",
    "Person",
    "PoseError",
    "PoseFrame",
    "PoseMessage",
    "Publisher",
    "Subscriber",
    "Tracker",
    "load_body",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tracker' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
