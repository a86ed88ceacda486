"""Poses over ZeroMQ and WebSocket: `Publisher`, `Subscriber`, their messages, other formats."""

from kinestream.defaults import DEFAULT_ENDPOINT
from kinestream.stream.axes import OutputFrame
from kinestream.stream.base_publisher import BasePublisher
from kinestream.stream.binding import BindError, InsecureBindError
from kinestream.stream.keys import KeysError, create_client_keys, create_publisher_keys
from kinestream.stream.message import (
    HeartbeatMessage,
    MessageError,
    PoseMessage,
    StatsMessage,
    decode,
    encode,
)
from kinestream.stream.publisher import Publisher
from kinestream.stream.recorder import Recorder, RecordingError, check_recordable
from kinestream.stream.recording import RecordedMessage, read_messages, read_pictures, read_poses
from kinestream.stream.subscriber import StreamTimeoutError, Subscriber
from kinestream.stream.websocket import WebSocketServer

__all__ = [
    "DEFAULT_ENDPOINT",
    "BasePublisher",
    "BindError",
    "HeartbeatMessage",
    "InsecureBindError",
    "KeysError",
    "MessageError",
    "OutputFrame",
    "PoseMessage",
    "Publisher",
    "RecordedMessage",
    "Recorder",
    "RecordingError",
    "StatsMessage",
    "StreamTimeoutError",
    "Subscriber",
    "WebSocketServer",
    "check_recordable",
    "create_client_keys",
    "create_publisher_keys",
    "decode",
    "encode",
    "read_messages",
    "read_pictures",
    "read_poses",
]
