"""Poses over ZeroMQ: `Publisher`, `Subscriber` and the messages between them."""

from tracker.stream.message import HeartbeatMessage, MessageError, PoseMessage, StatsMessage, decode, encode
from tracker.stream.publisher import DEFAULT_ENDPOINT, BindError, InsecureBindError, Publisher
from tracker.stream.recorder import Recorder, RecordingError
from tracker.stream.recording import RecordedMessage, read_messages, read_pictures, read_poses
from tracker.stream.subscriber import StreamTimeoutError, Subscriber

__all__ = [
    "DEFAULT_ENDPOINT",
    "BindError",
    "HeartbeatMessage",
    "InsecureBindError",
    "MessageError",
    "PoseMessage",
    "Publisher",
    "RecordedMessage",
    "Recorder",
    "RecordingError",
    "StatsMessage",
    "StreamTimeoutError",
    "Subscriber",
    "decode",
    "encode",
    "read_messages",
    "read_pictures",
    "read_poses",
]
