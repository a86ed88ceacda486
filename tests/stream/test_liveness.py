"""What a subscriber says of the publisher: what it heard just now, and why it cannot read it."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import msgpack
import numpy as np
import pytest
import zmq

from kinestream.pose import PoseFrame
from kinestream.stream import Publisher, StreamTimeoutError, Subscriber, decode

Make = Callable[..., PoseFrame]


@pytest.fixture
def stranger() -> Iterator[zmq.Socket[bytes]]:
    """A publisher of something else."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.bind("tcp://127.0.0.1:0")
        yield socket


def hear(subscriber: Subscriber, condition: str, send: Callable[[], object] = lambda: None) -> None:
    """Until that is the condition, which it is at the end."""
    deadline = time.monotonic() + 60
    while subscriber.condition != condition and time.monotonic() < deadline:
        send()
        with contextlib.suppress(StreamTimeoutError):
            subscriber.receive(timeout_ms=20)
    assert subscriber.condition == condition


def test_alive_only_by_recent_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    with Publisher("tcp://127.0.0.1:0", heartbeat_s=0.02) as publisher:
        subscriber = Subscriber(publisher.endpoint)
        assert subscriber.condition == "unheard"
        hear(subscriber, "alive")
        with pytest.raises(StreamTimeoutError, match="no pose within 1 ms although the publisher is alive"):
            subscriber.receive(timeout_ms=1)
    with subscriber:
        heard_s = time.monotonic()
        hear(subscriber, "silent")
        assert time.monotonic() - heard_s > 1, "one late heartbeat is no silence"
        with pytest.raises(
            StreamTimeoutError, match="no pose within 1 ms; the publisher has been silent for"
        ):
            subscriber.receive(timeout_ms=1)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b"pose\0" + msgpack.packb({"version": 2})], "schema version 2, this client reads 1"),
        ([b"\x00\x01hello"], "unknown topic"),
        ([b"pose", b"x"], "found several parts, expected one"),
    ],
    ids=["other version", "garbage", "several parts"],
)
def test_what_cannot_be_read_is_named(
    stranger: "zmq.Socket[bytes]", parts: list[bytes], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = str(stranger.getsockopt_string(zmq.LAST_ENDPOINT))
    with Subscriber(address) as subscriber, caplog.at_level(logging.WARNING):
        hear(subscriber, "unreadable", lambda: stranger.send_multipart(parts))
        for _ in range(50):
            stranger.send_multipart(parts)
        with pytest.raises(StreamTimeoutError) as raised:
            subscriber.receive(timeout_ms=300)
        assert "what arrives there cannot be read" in str(raised.value) and reason in str(raised.value)
        assert subscriber.malformed > 10 and reason in subscriber.last_error
        assert caplog.text.count("left out what cannot be read") == 1, "said, and not a flood"


def test_no_password_on_the_wire(pose_frame: Make) -> None:
    sent = []
    with Publisher(
        "inproc://masked",
        source="http://admin:s3@cr3t@camera/stream?user=admin&pwd=s3cr3t",
        on_message=lambda message, data: sent.append(data),
    ) as publisher:
        publisher.publish(pose_frame(0), clock="media")
        publisher.publish_stats({})
    assert len(sent) == 3 and not [data for data in sent if b"cr3t" in data]
    assert decode(sent[-1]).identity.source == "http://***@camera/stream?user=***&pwd=***"


def test_the_mesh_leaves_only_when_asked_for(pose_frame: Make) -> None:
    """A frame has one because something draws it here."""
    frame = pose_frame(0, vertices_cam_m=np.zeros((6899, 3), np.float32))
    sizes = {}
    for vertices in (False, True):
        sent: list[bytes] = []
        with Publisher(
            f"inproc://mesh{vertices}",
            heartbeat_s=None,
            vertices=vertices,
            on_message=lambda message, data, sent=sent: sent.append(data),
        ) as publisher:
            publisher.publish(frame, clock="media")
        sizes[vertices] = len(sent[0])
    assert sizes[False] < 4000 and sizes[True] > 80_000
