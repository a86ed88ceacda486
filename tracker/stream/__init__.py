"""Poses over ZeroMQ: `Publisher`, `Subscriber` and the messages between them."""

from tracker.stream.message import HeartbeatMessage, MessageError, PoseMessage, StatsMessage, decode, encode
from tracker.stream.publisher import DEFAULT_ENDPOINT, BindError, InsecureBindError, Publisher
from tracker.stream.subscriber import StreamTimeoutError, Subscriber

__all__ = [
    "DEFAULT_ENDPOINT",
    "BindError",
    "HeartbeatMessage",
    "InsecureBindError",
    "MessageError",
    "PoseMessage",
    "Publisher",
    "StatsMessage",
    "StreamTimeoutError",
    "Subscriber",
    "decode",
    "encode",
]
