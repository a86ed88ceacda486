"""Poses over ZeroMQ: `Publisher`, `Subscriber` and the messages between them; other formats beside it."""

from tracker.defaults import DEFAULT_ENDPOINT
from tracker.stream.axes import OutputFrame
from tracker.stream.binding import BindError, InsecureBindError
from tracker.stream.keys import KeysError, create_client_keys, create_publisher_keys
from tracker.stream.message import HeartbeatMessage, MessageError, PoseMessage, StatsMessage, decode, encode
from tracker.stream.outlet import Outlet
from tracker.stream.publisher import Publisher
from tracker.stream.recorder import Recorder, RecordingError, check_recordable
from tracker.stream.recording import RecordedMessage, read_messages, read_pictures, read_poses
from tracker.stream.subscriber import StreamTimeoutError, Subscriber

__all__ = [
    "DEFAULT_ENDPOINT",
    "BindError",
    "HeartbeatMessage",
    "InsecureBindError",
    "KeysError",
    "MessageError",
    "Outlet",
    "OutputFrame",
    "PoseMessage",
    "Publisher",
    "RecordedMessage",
    "Recorder",
    "RecordingError",
    "StatsMessage",
    "StreamTimeoutError",
    "Subscriber",
    "check_recordable",
    "create_client_keys",
    "create_publisher_keys",
    "decode",
    "encode",
    "read_messages",
    "read_pictures",
    "read_poses",
]
