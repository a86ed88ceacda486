"""Keys and allow-list over real sockets: who is let in, and that nobody else gets a single byte."""

import contextlib
import logging
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from kinestream.pose import PoseFrame
from kinestream.stream import (
    InsecureBindError,
    KeysError,
    Publisher,
    StreamTimeoutError,
    Subscriber,
    create_client_keys,
    create_publisher_keys,
)

Make = Callable[..., PoseFrame]
ANY = "tcp://127.0.0.1:0"
PATIENCE_S = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return create_publisher_keys(tmp_path / "keys")


def hears(subscriber: Subscriber, publisher: Publisher, frame: PoseFrame, timeout_s: float) -> bool:
    """Whether a frame arrives while one is sent every 20 ms."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        publisher.publish(frame, clock="media")
        with contextlib.suppress(StreamTimeoutError):
            subscriber.receive(timeout_ms=20)
            return True
    return False


def refused(publisher: Publisher) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while publisher.refused == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    return publisher.refused > 0


def test_those_with_keys_hear_and_others_get_nothing(
    folder: Path, pose_frame: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kinestream.stream")
    robot = create_client_keys(folder, "robot")
    with Publisher(ANY, keys=folder, heartbeat_s=0.02) as publisher:
        raw = zmq.Context.instance().socket(zmq.SUB)
        raw.subscribe(b"")
        raw.connect(publisher.endpoint)
        with Subscriber(publisher.endpoint, keys=robot) as friend:
            assert hears(friend, publisher, pose_frame(0), PATIENCE_S)
            assert "robot listens from 127.0.0.1" in caplog.text
            assert refused(publisher)
            assert hears(friend, publisher, pose_frame(0), PATIENCE_S), "still"
        assert raw.poll(200) == 0, "without keys nothing arrives"
        raw.close(linger=0)
    assert "refused somebody, who came without the publisher's key" in caplog.text


def test_a_key_that_is_not_allowed_is_refused_and_named(
    folder: Path, pose_frame: Make, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = create_client_keys(folder, "stranger")
    (folder / "allowed" / "stranger.key").unlink()
    with (
        Publisher(ANY, keys=folder, heartbeat_s=0.02) as publisher,
        Subscriber(publisher.endpoint, keys=stranger) as subscriber,
    ):
        assert refused(publisher)
        assert not hears(subscriber, publisher, pose_frame(0), 0.3)
        assert subscriber.heartbeat is None
    public = (stranger / "client.key").read_text().split('public-key = "')[1][:40]
    assert (
        f"refused 127.0.0.1, who came with the key {public}, which is not among those allowed" in caplog.text
    )


def test_the_key_of_another_publisher_opens_nothing(folder: Path, pose_frame: Make, tmp_path: Path) -> None:
    robot = create_client_keys(folder, "robot")
    other = create_publisher_keys(tmp_path / "other")
    shutil.copy(other / "publisher.key", robot / "publisher.key")
    with (
        Publisher(ANY, keys=folder, heartbeat_s=0.02) as publisher,
        Subscriber(publisher.endpoint, keys=robot) as subscriber,
    ):
        assert refused(publisher)
        assert not hears(subscriber, publisher, pose_frame(0), 0.3)


def test_listeners_may_be_allowed_while_the_stream_runs(folder: Path, pose_frame: Make) -> None:
    with Publisher(ANY, keys=folder, heartbeat_s=0.02) as publisher:
        late = create_client_keys(folder, "late")
        with Subscriber(publisher.endpoint, keys=late) as subscriber:
            assert hears(subscriber, publisher, pose_frame(0), PATIENCE_S)


def test_two_guarded_publishers_in_one_process(tmp_path: Path, pose_frame: Make) -> None:
    folders = [create_publisher_keys(tmp_path / name) for name in ("one", "two")]
    with Publisher(ANY, keys=folders[0]) as one, Publisher(ANY, keys=folders[1]) as two:
        for publisher, folder in zip((one, two), folders, strict=True):
            with Subscriber(publisher.endpoint, keys=create_client_keys(folder, "a")) as subscriber:
                assert hears(subscriber, publisher, pose_frame(0), PATIENCE_S)


def test_keys_allow_a_public_address(folder: Path) -> None:
    with pytest.raises(InsecureBindError, match=r"protect the stream with keys \(kinestream keys FOLDER"):
        Publisher("tcp://0.0.0.0:0")
    with Publisher("tcp://0.0.0.0:0", keys=folder) as publisher:
        assert publisher.bound


def test_secrets_are_the_owners_alone(folder: Path) -> None:
    bundle = create_client_keys(folder, "robot")
    for path in (folder / "publisher.key_secret", bundle / "client.key_secret", bundle / "websocket.token"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in bundle.iterdir()) == [
        "client.key",
        "client.key_secret",
        "publisher.key",
        "websocket.token",
    ]


def test_nothing_is_overwritten_and_faults_are_named(folder: Path, tmp_path: Path) -> None:
    create_client_keys(folder, "robot")
    with pytest.raises(KeysError, match="holds a publisher's keys already"):
        create_publisher_keys(folder)
    with pytest.raises(KeysError, match="robot: is allowed already"):
        create_client_keys(folder, "robot")
    with pytest.raises(KeysError, match=r"expected letters, digits, .* found '../evil'"):
        create_client_keys(folder, "../evil")
    with pytest.raises(KeysError, match=r"no such key; kinestream keys .*/empty"):
        Publisher(ANY, keys=tmp_path / "empty")
    with pytest.raises(KeysError, match="no such key; kinestream keys FOLDER --client NAME"):
        Subscriber("tcp://127.0.0.1:9", keys=folder)
    (folder / "publisher.key_secret").write_text("nothing of the kind")
    with pytest.raises(KeysError, match="is no ZeroMQ key"):
        Publisher(ANY, keys=folder)
