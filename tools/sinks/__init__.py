"""Where frames go besides the socket: files that other programs read."""

from kinestream.tools.sinks.base import Sink, SinkError, SinkGroup
from kinestream.tools.sinks.json_lines import JsonLinesSink, frame_as_dict
from kinestream.tools.sinks.npz import NpzSink
from kinestream.tools.sinks.recording import RecordingSink, record_stream

__all__ = [
    "JsonLinesSink",
    "NpzSink",
    "RecordingSink",
    "Sink",
    "SinkError",
    "SinkGroup",
    "frame_as_dict",
    "record_stream",
]
