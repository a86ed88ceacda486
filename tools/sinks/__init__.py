"""Where frames go besides the socket: files that other programs read."""

from tools.sinks.base import Sink, SinkError, SinkGroup
from tools.sinks.json_lines import JsonLinesSink, frame_as_dict
from tools.sinks.npz import NpzSink
from tools.sinks.overlay_video import OverlayVideoSink
from tools.sinks.recording import RecordingSink, record_stream

__all__ = [
    "JsonLinesSink",
    "NpzSink",
    "OverlayVideoSink",
    "RecordingSink",
    "Sink",
    "SinkError",
    "SinkGroup",
    "frame_as_dict",
    "record_stream",
]
