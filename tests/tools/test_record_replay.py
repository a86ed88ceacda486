"""Recording and replaying as a user does it: real processes, a real kill, a real full disk, real sockets."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinestream.models import Models
from kinestream.pose import PoseFrame
from kinestream.stream import (
    PoseMessage,
    Publisher,
    RecordedMessage,
    Recorder,
    StreamTimeoutError,
    Subscriber,
    decode,
    read_messages,
    read_pictures,
    read_poses,
)
from kinestream.stream.keys import create_client_keys, create_publisher_keys
from kinestream.tools.commands.replay import paced

Video = Callable[..., Path]
Command = Callable[..., tuple[int, str, str]]
WALK = [{0: (40 + 2 * i, 60, 50, 120), 1: (200, 40, 40, 100)} for i in range(15)]
ROOT = Path(__file__).parents[2]
PUBLISHING = """
import sys, time
from pathlib import Path
import numpy as np
from kinestream.stream import Publisher, Recorder, decode

frame = decode(Path("tests/golden/wire_v1_pose.bin").read_bytes()).frame
picture = np.zeros((240, 320, 3), np.uint8)
with Publisher(sys.argv[1]) as publisher, Recorder(sys.argv[2]) as recorder:
    publisher.on_message = recorder.add
    while True:
        publisher.publish(frame, clock="monotonic")
        recorder.add_picture(picture, time.monotonic_ns())
        time.sleep(0.01)
"""


def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """A script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *[str(argument) for argument in arguments]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


@pytest.fixture
def free_address() -> str:
    with Publisher("tcp://127.0.0.1:0") as probe:
        return probe.endpoint


@pytest.fixture
def frame() -> PoseFrame:
    message = decode((ROOT / "tests/golden/wire_v1_pose.bin").read_bytes())
    assert isinstance(message, PoseMessage)
    return message.frame


@pytest.fixture
def recording(tmp_path: Path, frame: PoseFrame) -> Path:
    """Twelve frames at 10 fps of a file, with statistics between them."""
    path = tmp_path / "walk.mcap"
    with Publisher("inproc://walk", heartbeat_s=None) as publisher, Recorder(path, wait=True) as recorder:
        publisher.on_message = recorder.add
        for i in range(12):
            publisher.publish(replace(frame, frame_index=i, t_capture_ns=i * 100_000_000), clock="media")
            if i % 5 == 0:
                publisher.publish_stats({"frames": i})
    return path


class Listener:
    """Takes in every message of an address until told to stop."""

    def __init__(self, address: str) -> None:
        self.data: list[bytes] = []
        self.sent_ns: list[int] = []
        self._stop = threading.Event()
        self._subscriber = Subscriber(address, timeout_ms=50, on_message=self._take)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._subscriber.close()

    def wait_for(self, count: int, *, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while len(self.data) < count and time.monotonic() < deadline:
            time.sleep(0.005)

    def _take(self, message: Any, data: bytes) -> None:
        self.data.append(data)
        self.sent_ns.append(message.t_publish_ns)

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(StreamTimeoutError):
                self._subscriber.receive()


def test_a_killed_recording_lacks_no_more_than_200_ms(tmp_path: Path, free_address: str) -> None:
    path = tmp_path / "killed.mcap"
    listener = Listener(free_address)
    process = start(PUBLISHING, free_address, path)
    try:
        listener.wait_for(150)
        killed_ns = time.monotonic_ns()
        process.kill()
        process.communicate()
        time.sleep(0.2)
    finally:
        process.kill()
        listener.stop()
    recorded = [message.data for message in read_messages(path)]
    # a heartbeat may precede the recorder
    first = next(i for i, data in enumerate(listener.data) if data.startswith(b"pose"))
    sent = zip(listener.data[first:], listener.sent_ns[first:], strict=True)
    due = [data for data, sent_ns in sent if sent_ns < killed_ns - 200_000_000]
    assert len(due) > 50 and set(due) <= set(recorded)
    sequence = [message.sequence for message in read_poses(path)]
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence))), "in order, none missing"
    assert len(list(read_pictures(path))) > 20


@pytest.mark.skipif(os.name == "nt", reason="there is no limit on the size of files")
def test_tracking_goes_on_when_the_disk_is_full(
    start_kinestream: Callable[..., "subprocess.Popen[str]"], block_video: Video, tmp_path: Path
) -> None:
    path, limit = tmp_path / "full.mcap", 80_000
    process = start_kinestream(
        "run", block_video(WALK * 4), "--no-publish", "--json", "-", "--record", path, "--pictures",
        file_limit=limit,
    )  # fmt: skip
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, "something that was asked for is not there"
    assert [json.loads(line)["frame_index"] for line in out.splitlines()] == list(range(60))
    said = " ".join(err.split())
    assert said.count("File too large; tracking goes on without it") == 1 and "Traceback" not in said
    assert path.stat().st_size <= limit
    indices = [message.frame.frame_index for message in read_poses(path)]
    assert indices == list(range(len(indices))) and 3 < len(indices) < 60


@pytest.mark.usefixtures("stand_ins")
def test_a_file_is_recorded_with_its_pictures(
    kinestream: Command, block_video: Video, tmp_path: Path
) -> None:
    path = tmp_path / "walk.mcap"
    code, _, err = kinestream("record", block_video(WALK), path, "--pictures")
    assert code == 0 and "15 frames" in err and "publishing" not in err
    poses = list(read_poses(path))
    assert [len(message.frame) for message in poses] == [2] * 15
    assert len(list(read_pictures(path))) == 15
    assert poses[0].identity.source.endswith("blocks.mp4")
    code, _, err = kinestream("record", block_video(WALK), path)
    assert code == 1 and "exists, and a recording is never overwritten" in err
    assert list(read_poses(path)) == poses


def test_what_cannot_be_recorded_is_said_before_anything_is_loaded(
    kinestream: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(**_: object) -> None:
        raise AssertionError("the models were loaded")

    monkeypatch.setattr(Models, "load", load)
    old = tmp_path / "old.mcap"
    old.touch()
    code, _, err = kinestream("run", tmp_path / "absent.mp4", "--record", old)
    assert code == 1 and "old.mcap: exists, and a recording is never overwritten" in err
    code, _, err = kinestream("run", tmp_path / "absent.mp4", "--record", tmp_path / "no" / "new.mcap")
    assert code == 1 and "there is no folder" in err


def test_a_running_stream_is_recorded(kinestream: Command, tmp_path: Path, frame: PoseFrame) -> None:
    path, sent, stop = tmp_path / "live.mcap", [], threading.Event()
    with Publisher("tcp://127.0.0.1:0", heartbeat_s=0.05) as publisher:
        publisher.on_message = lambda message, data: sent.append(data)

        def publish() -> None:
            while not stop.wait(0.01):
                publisher.publish(frame, clock="monotonic")

        thread = threading.Thread(target=publish)
        thread.start()
        code, _, err = kinestream("record", publisher.endpoint, path, "--max-frames", 10)
        stop.set()
        thread.join()
    assert code == 0 and "10 frames, 0 missed" in err
    recorded = [message.data for message in read_messages(path)]
    assert recorded and set(recorded) <= set(sent)
    assert kinestream("record", "tcp://127.0.0.1:9", tmp_path / "x.mcap", "--pictures")[0] == 2


def test_a_replay_sends_the_same_bytes(kinestream: Command, recording: Path, free_address: str) -> None:
    listener = Listener(free_address)
    code, _, err = kinestream("replay", recording, "--bind", free_address, "--speed", 4, "--delay", 2)
    listener.wait_for(15)
    listener.stop()
    assert code == 0 and "12 frames" in err
    assert listener.data == [message.data for message in read_messages(recording)]


def test_a_protected_replay_is_recorded_with_keys(
    kinestream: Command, recording: Path, free_address: str, tmp_path: Path
) -> None:
    folder = create_publisher_keys(tmp_path / "keys")
    robot = create_client_keys(folder, "robot")
    again = tmp_path / "again.mcap"
    arguments = ("replay", recording, "--bind", free_address, "--keys", folder, "--delay", 0, "--loop")
    process = start("from kinestream.tools.cli import app; app()", *arguments)
    try:
        code, _, err = kinestream("record", free_address, again, "--keys", robot, "--max-frames", 5)
    finally:
        process.kill()
        process.communicate()
    assert code == 0 and "5 frames" in err
    assert {message.data for message in read_messages(again)} <= {m.data for m in read_messages(recording)}


def test_a_replay_goes_step_by_step(kinestream: Command, recording: Path) -> None:
    code, _, err = kinestream("replay", recording, "--bind", "tcp://127.0.0.1:0", "--step", typed="\n\n\nq\n")
    assert code == 0 and "3 frames" in err and "0.300 s Enter: send" in err
    code, _, err = kinestream("replay", recording, "--bind", "tcp://127.0.0.1:0", "--step", typed="\n" * 12)
    assert code == 0 and "12 frames" in err


def test_a_replay_keeps_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own, which a slow reader moves as well."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    messages = [RecordedMessage("pose", 10**18 + i * 100_000_000, b"") for i in range(5)]
    sent_s = []
    for i, _ in enumerate(paced(iter(messages), speed=2.0)):
        sent_s.append(now[0] - 100)
        now[0] += 0.12 if i == 1 else 0.01
    assert sent_s == pytest.approx([0, 0.05, 0.17, 0.18, 0.2], abs=1e-6), "late once, then in time again"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "No such file"), (b"text", "not a recording"), ("empty", "holds no message of a pose stream")],
)
def test_what_cannot_be_replayed_is_said(
    kinestream: Command, tmp_path: Path, content: Any, complaint: str
) -> None:
    path = tmp_path / "file.mcap"
    if content == "empty":
        with Recorder(path):
            pass
    elif content is not None:
        path.write_bytes(content)
    code, _, err = kinestream("replay", path, "--bind", "tcp://127.0.0.1:0")
    assert code == 1 and complaint in err
