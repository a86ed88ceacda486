"""Publisher and subscriber over real sockets: loss, stalls, restarts, busy and public addresses."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from kinestream.pose import PoseFrame
from kinestream.stream import (
    BindError,
    InsecureBindError,
    MessageError,
    Publisher,
    StreamTimeoutError,
    Subscriber,
)

Make = Callable[..., PoseFrame]
ANY = "tcp://127.0.0.1:0"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY, source="test", heartbeat_s=0.02) as publisher:
        yield publisher


def connected(publisher: Publisher, **options: object) -> Subscriber:
    """A subscriber that has heard a heartbeat, so that nothing sent from now on is missed."""
    subscriber = Subscriber(publisher.endpoint, timeout_ms=5000, **options)  # type: ignore[arg-type]
    deadline = time.monotonic() + 10
    while subscriber.heartbeat is None and time.monotonic() < deadline:
        with contextlib.suppress(StreamTimeoutError):
            subscriber.receive(timeout_ms=30)
    return subscriber


def test_frames_arrive_as_sent(publisher: Publisher, pose_frame: Make) -> None:
    with connected(publisher) as subscriber:
        sent = [
            publisher.publish(pose_frame(*range(i % 3), frame_index=i), clock="media", dropped=i)
            for i in range(20)
        ]
        received = [subscriber.receive() for _ in range(20)]
    assert received == sent
    assert received[1].frame.persons[0].joints_cam_m.shape == (24, 3)
    assert received[5].identity.source == "test" and received[5].dropped == 5
    assert (subscriber.received, subscriber.missed, subscriber.malformed) == (20, 0, 0)


def test_heartbeat_and_stats(publisher: Publisher, pose_frame: Make) -> None:
    with connected(publisher) as subscriber:
        publisher.publish_stats({"fps_in": 30.0})
        publisher.publish(pose_frame(), clock="media")
        subscriber.receive()
        assert subscriber.stats is not None and subscriber.stats.values == {"fps_in": 30.0}
        assert subscriber.heartbeat is not None
        lag_s = (time.monotonic_ns() - subscriber.heartbeat.t_publish_ns) / 1e9
        wall_s = (time.time_ns() - subscriber.heartbeat.t_unix_ns) / 1e9
        assert 0 <= lag_s < 30 and abs(wall_s - lag_s) < 0.5, "the same moment on both clocks"


def test_latest_skips_to_the_newest(publisher: Publisher, pose_frame: Make) -> None:
    with connected(publisher, latest=True) as subscriber:
        for i in range(10):
            publisher.publish(pose_frame(frame_index=i), clock="media")
        time.sleep(0.1)
        assert subscriber.receive().frame.frame_index == 9
        assert subscriber.missed == 0, "skipped by choice, not lost"


def test_a_reader_that_never_reads_does_not_hold_up_the_others(
    publisher: Publisher, pose_frame: Make
) -> None:
    with connected(publisher) as stalled, connected(publisher) as reader:
        frame = pose_frame(*range(8))
        for i in range(1000):
            publisher.publish(frame, clock="media")
            assert reader.receive().sequence == i
        assert stalled.received == 0


def test_ten_subscribers_get_everything(publisher: Publisher, pose_frame: Make) -> None:
    subscribers = [connected(publisher) for _ in range(10)]
    for i in range(30):
        publisher.publish(pose_frame(0, frame_index=i), clock="media")
        for subscriber in subscribers:
            assert subscriber.receive().frame.frame_index == i
    for subscriber in subscribers:
        subscriber.close()


def test_a_subscriber_may_die_and_another_come(publisher: Publisher, pose_frame: Make) -> None:
    first = connected(publisher)
    publisher.publish(pose_frame(0), clock="media")
    first.close()
    for _ in range(100):
        publisher.publish(pose_frame(0), clock="media")
    with connected(publisher) as second:
        publisher.publish(pose_frame(0), clock="media")
        assert second.receive().sequence == 101
        assert second.missed == 0, "what came before it was there is not lost to it"


def test_gaps_are_counted(pose_frame: Make, publisher: Publisher) -> None:
    with connected(publisher) as subscriber:
        publisher.publish(pose_frame(), clock="media")
        publisher.sequence += 5
        publisher.publish(pose_frame(), clock="media")
        subscriber.receive()
        subscriber.receive()
        assert subscriber.missed == 5


def test_a_restarted_publisher_is_no_gap(pose_frame: Make) -> None:
    with Publisher(ANY, heartbeat_s=0.02) as first:
        endpoint = first.endpoint
        subscriber = connected(first)
        first.sequence = 1000
        first.publish(pose_frame(), clock="media")
        assert subscriber.receive().sequence == 1000
    with Publisher(endpoint, heartbeat_s=0.02) as second:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            heartbeat = subscriber.heartbeat  # those of the first may still wait
            if heartbeat is not None and heartbeat.identity == second.identity:
                break
            with contextlib.suppress(StreamTimeoutError):
                subscriber.receive(timeout_ms=50)
        second.publish(pose_frame(), clock="media")
        assert subscriber.receive().sequence == 0
    assert subscriber.missed == 0
    subscriber.close()


def test_hostile_messages_are_counted_or_raised_as_wished(pose_frame: Make) -> None:
    raw = zmq.Context.instance().socket(zmq.PUB)
    port = raw.bind_to_random_port("tcp://127.0.0.1")
    endpoint = f"tcp://127.0.0.1:{port}"
    with Subscriber(endpoint) as counts, Subscriber(endpoint, raise_malformed=True) as raises:
        time.sleep(0.3)
        raw.send(b"pose\0garbage")
        raw.send_multipart([b"pose\0", b"second part"])
        with pytest.raises(StreamTimeoutError):
            counts.receive(timeout_ms=300)
        assert counts.malformed == 2
        with pytest.raises(MessageError):
            raises.receive(timeout_ms=300)
        with pytest.raises(MessageError, match="several parts"):
            raises.receive(timeout_ms=300)
    raw.close(linger=0)


def test_async_iteration(publisher: Publisher, pose_frame: Make) -> None:
    async def read() -> list[int]:
        found = []
        async for message in subscriber:
            found.append(message.frame.frame_index)
            if len(found) == 5:
                return found
        return found

    with connected(publisher) as subscriber:
        for i in range(5):
            publisher.publish(pose_frame(0, frame_index=i), clock="media")
        assert asyncio.run(asyncio.wait_for(read(), 10)) == [0, 1, 2, 3, 4]


def test_silence_is_a_timeout_with_advice() -> None:
    with (
        Subscriber("tcp://127.0.0.1:9", timeout_ms=20) as subscriber,
        pytest.raises(
            StreamTimeoutError, match=r"tcp://127.0.0.1:9: no pose within 20 ms; is `kinestream run` running"
        ),
    ):
        next(iter(subscriber))


def test_an_impossible_address_is_refused() -> None:
    with pytest.raises(ValueError, match="'nowhere' is no address to connect to"):
        Subscriber("nowhere")
    with pytest.raises(BindError, match="'5556' is no address to publish on"):
        Publisher("5556")


@pytest.mark.parametrize(
    "address",
    ["tcp://*:5556", "tcp://0.0.0.0:0", "tcp://192.168.1.7:5556", "tcp://[::]:5556", "tcp://eth0:5556"],
)
def test_public_addresses_need_consent(address: str) -> None:
    with pytest.raises(InsecureBindError, match="anybody there could read the poses"):
        Publisher(address)


def test_consent_is_respected(pose_frame: Make) -> None:
    with Publisher("tcp://0.0.0.0:0", insecure=True) as publisher:
        assert publisher.bound


def test_a_busy_address_is_an_error_or_waited_for(pose_frame: Make, caplog: pytest.LogCaptureFixture) -> None:
    with Publisher(ANY) as first:
        with pytest.raises(BindError, match=r"is in use by another program; stop .*--bind tcp"):
            Publisher(first.endpoint)
        waiting = Publisher(first.endpoint, on_busy="retry", heartbeat_s=0.02)
        assert not waiting.bound
        waiting.publish(pose_frame(0), clock="media")
        time.sleep(0.1)
        assert caplog.text.count("in use by another program") == 1, "said once"
    deadline = time.monotonic() + 10
    while not waiting.bound and time.monotonic() < deadline:
        time.sleep(0.01)
    with connected(waiting) as subscriber:
        waiting.publish(pose_frame(0), clock="media")
        assert subscriber.receive().sequence == 1
    waiting.close()
