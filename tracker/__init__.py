"""Kinestream: any camera or video in, a live stream of 3D human poses and body shapes out.

The names below are the public interface. They are loaded on first use, so that ``import tracker``
is quick and pulls in nothing that is not asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.body.camera import Camera
    from tracker.body.model import BodyModel, BodyOutput, load_body
    from tracker.pose import Person, PoseError, PoseFrame

__version__ = "0.1.0"

_HOME = {
    "BodyModel": "tracker.body.model",
    "BodyOutput": "tracker.body.model",
    "Camera": "tracker.body.camera",
    "Person": "tracker.pose",
    "PoseError": "tracker.pose",
    "PoseFrame": "tracker.pose",
    "load_body": "tracker.body.model",
}

__all__ = ["BodyModel", "BodyOutput", "Camera", "Person", "PoseError", "PoseFrame", "load_body"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tracker' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
