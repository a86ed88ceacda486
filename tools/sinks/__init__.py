"""Where frames go besides the socket: files that other programs read."""

from tools.sinks.base import Sink, SinkError, SinkGroup
from tools.sinks.json_lines import JsonLinesSink, frame_as_dict
from tools.sinks.npz import NpzSink
from tools.sinks.overlay_video import OverlayVideoSink

__all__ = [
    "JsonLinesSink",
    "NpzSink",
    "OverlayVideoSink",
    "Sink",
    "SinkError",
    "SinkGroup",
    "frame_as_dict",
]
