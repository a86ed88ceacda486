"""Readers in other processes that stop, die or speak nonsense: the publisher and the other readers go on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from kinestream.pose import PoseFrame
from kinestream.stream import Publisher, StreamTimeoutError, Subscriber

READER = """
import sys
from kinestream.stream import Subscriber

with Subscriber(sys.argv[1]) as subscriber:
    for message in subscriber:
        print(message.sequence, flush=True)
"""
BURST = 100

Make = Callable[..., PoseFrame]


@contextlib.contextmanager
def reader(publisher: Publisher, frame: PoseFrame) -> Iterator[subprocess.Popen[str]]:
    """A process that reads the stream, once it has received something."""
    command = [sys.executable, "-c", READER, publisher.endpoint]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        deadline = time.monotonic() + 60
        while not process.stdout.readline():
            assert time.monotonic() < deadline, "the reader received nothing"
            publisher.publish(frame, clock="media")
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def burst(publisher: Publisher, frame: PoseFrame, subscriber: Subscriber) -> list[int]:
    """Sequence numbers that arrive of ``BURST`` messages, read as they are sent."""
    arrived = []
    for _ in range(BURST):
        sent = publisher.publish(frame, clock="media").sequence
        with contextlib.suppress(StreamTimeoutError):
            while not arrived or arrived[-1] < sent:
                arrived.append(subscriber.receive(timeout_ms=5000).sequence)
    return arrived


@pytest.fixture
def heavy_frame(pose_frame: Make) -> PoseFrame:
    """Messages of hundreds of kilobytes, so that a socket holds only parts of one."""
    return pose_frame(0, vertices_cam_m=np.zeros((20_000, 3), np.float32))


@pytest.mark.skipif(os.name == "nt", reason="signals are different there")
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_reader_that_stops_or_dies_in_the_middle_of_a_message(heavy_frame: PoseFrame, number: int) -> None:
    with (
        Publisher("tcp://127.0.0.1:0", vertices=True) as publisher,
        Subscriber(publisher.endpoint) as good,
    ):
        with reader(publisher, heavy_frame) as process:
            with contextlib.suppress(StreamTimeoutError):
                while True:
                    good.receive(timeout_ms=300)
            for _ in range(8):  # more than its socket holds is on its way
                publisher.publish(heavy_frame, clock="media")
            process.send_signal(number)
            arrived = burst(publisher, heavy_frame, good)
        assert arrived[-BURST:] == list(range(arrived[-1] - BURST + 1, arrived[-1] + 1)), "nothing was lost"
        assert good.missed == 0 and good.malformed == 0


def test_somebody_who_speaks_another_protocol(pose_frame: Make) -> None:
    frame = pose_frame(0)
    with Publisher("tcp://127.0.0.1:0") as publisher, Subscriber(publisher.endpoint) as good:
        host, port = publisher.endpoint.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100_000))
            deadline = time.monotonic() + 30
            while good.received == 0 and time.monotonic() < deadline:
                publisher.publish(frame, clock="media")
                with contextlib.suppress(StreamTimeoutError):
                    good.receive(timeout_ms=100)
            arrived = burst(publisher, frame, good)
        assert arrived[-1] - arrived[-BURST] == BURST - 1 and good.missed == 0


PATIENT = """
import contextlib, sys
from kinestream.stream import StreamTimeoutError, Subscriber

with Subscriber(sys.argv[1]) as subscriber:
    while subscriber.heartbeat is None:
        with contextlib.suppress(StreamTimeoutError):
            subscriber.receive(timeout_ms=20)
    print("ready", flush=True)
    try:
        print(subscriber.receive(timeout_ms=1000).sequence)
    except StreamTimeoutError as error:
        print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are different there")
def test_a_reader_stopped_beyond_its_time_limit_still_gets_what_came(pose_frame: Make) -> None:
    frame = pose_frame(0, vertices_cam_m=np.zeros((400_000, 3), np.float32))  # takes a moment to come in
    with Publisher("tcp://127.0.0.1:0", heartbeat_s=0.1, vertices=True) as publisher:
        command = [sys.executable, "-c", PATIENT, publisher.endpoint]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.3)  # heartbeats come first, and wake it
            publisher.publish(frame, clock="media")
            time.sleep(1.2)
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == "0\n"
