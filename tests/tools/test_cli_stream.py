"""What the commands offer about the stream: formats, frames, keys."""

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from kinestream.pose import PoseFrame
from kinestream.stream import HeartbeatMessage, PoseMessage, Publisher, Subscriber
from kinestream.stream.message import StreamIdentity
from kinestream.tools.commands import listen
from kinestream.tools.commands.listen import Arrivals

Video = Callable[..., Path]
Command = Callable[..., tuple[int, str, str]]
WALK = [{0: (40 + 2 * i, 60, 50, 120)} for i in range(15)]
pytestmark = pytest.mark.usefixtures("stand_ins")


def test_json_lines_in_other_axes(kinestream: Command, block_video: Video) -> None:
    path = block_video(WALK)
    rows = {}
    for axes in ("camera", "ros"):
        out = kinestream("run", path, "--format", "jsonl", "--axes", axes)[1]
        rows[axes] = [row for row in map(json.loads, out.splitlines()) if row["topic"] == "pose"]
    plain, ros = rows["camera"], rows["ros"]
    assert [row["sequence"] for row in plain] == list(range(15))
    assert (plain[0]["axes"], ros[0]["axes"]) == ("opencv", "ros")
    x, y, z = plain[4]["persons"][0]["translation_m"]
    assert ros[4]["persons"][0]["translation_m"] == pytest.approx([z, -x, -y], abs=1e-4)


def test_vmc_to_a_port(kinestream: Command, block_video: Video) -> None:
    pytest.importorskip("pythonosc", reason="needs python-osc, the extra 'osc'")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{receiver.getsockname()[1]}"
        code, _, err = kinestream("run", block_video(WALK), "--format", "vmc", "--to", address)
        receiver.settimeout(5)
        assert code == 0 and f"publishing on udp://{address}" in err
        assert receiver.recv(4096).startswith(b"#bundle\0")


def test_keys_from_making_to_listening(kinestream: Command, tmp_path: Path, pose_frame: PoseFrame) -> None:
    folder = tmp_path / "keys"
    assert kinestream("keys", folder)[0] == 0
    code, out, _ = kinestream("keys", folder, "--client", "robot")
    bundle = folder / "clients" / "robot"
    assert code == 0 and str(bundle) in out.replace("\n", "") and (bundle / "publisher.key").exists()
    code, _, err = kinestream("keys", folder, "--client", "robot")
    assert code == 1 and "is allowed already" in err
    stop = threading.Event()
    with Publisher("tcp://127.0.0.1:0", keys=folder, heartbeat_s=0.05) as publisher:

        def publish() -> None:
            while not stop.wait(0.02):
                publisher.publish(pose_frame, clock="media")

        thread = threading.Thread(target=publish)
        thread.start()
        command = ("listen", publisher.endpoint, "--count", 5)
        code, _, err = kinestream(*command, "--timeout", 20, "--keys", bundle)
        assert code == 0 and "5 frames" in err and "longest gap" in err and "0 missed" in err
        code, _, err = kinestream(*command, "--timeout", 0.3)
        assert code == 1 and "without asking for keys" in err
        stop.set()
        thread.join()


@pytest.fixture
def pose_frame() -> PoseFrame:
    from kinestream.geometry.camera import Camera

    return PoseFrame(frame_index=0, t_capture_ns=0, camera=Camera(64, 48, (50.0, 50.0), (31.5, 23.5)))


def test_age_of_a_stream_from_another_computer(
    pose_frame: PoseFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its monotonic clock has another origin; the wall clock of its heartbeat relates the two."""
    identity = StreamIdentity(stream_id="s", clock_id="another computer")
    now_ns, origin_ns = time.monotonic_ns(), 77_000_000_000
    arrivals = Arrivals()
    for i in range(3):
        sent_ns = origin_ns + i * 10_000_000
        message = PoseMessage(
            identity=identity, sequence=i, t_publish_ns=sent_ns, clock="media", lead_ns=0, dropped=0,
            corrupt=0, frame=pose_frame,
        )  # fmt: skip
        arrivals.take(message, now_ns + i * 10_000_000 + 25_000_000)
    with Subscriber("tcp://127.0.0.1:9") as subscriber:
        subscriber.received = 3
        unix_ns = time.time_ns()
        subscriber.heartbeat = HeartbeatMessage(
            identity=identity, next_sequence=3, t_publish_ns=origin_ns, t_unix_ns=unix_ns
        )
        clock = SimpleNamespace(time_ns=lambda: unix_ns, monotonic_ns=lambda: now_ns)
        monkeypatch.setattr(listen, "time", clock)
        line = arrivals.line(subscriber)
        assert subscriber.unix_ns(origin_ns + 5) == unix_ns + 5
    assert "age 25.0 ms" in line, line
    assert "by wall clocks" in line and "100.0 fps" in line


def test_sonic_sends_only_who_scores_enough(kinestream: Command, block_video: Video) -> None:
    sonic = ("run", block_video(WALK), "--format", "sonic", "--bind", "tcp://127.0.0.1:0")
    code, _, err = kinestream(*sonic)
    assert code == 0 and "sonic: sending" in err
    code, _, err = kinestream(*sonic, "--min-score", 1)
    assert code == 0 and "score is below 1" in err and "sending" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--format", "bvh"], 2, "expected one of native, sonic, sonic-v2, vmc, jsonl"),
        (["--format", "ros2"], 2, "start tools/clients/ros2/kinestream_node.py"),
        (["--axes", "maya"], 2, "expected one of camera, ros, unity, blender"),
        (["--origin", "moon"], 2, "expected one of camera, hips"),
        (["--format", "sonic", "--axes", "ros"], 1, "sonic has axes of its own"),
        (["--format", "sonic", "--origin", "hips"], 1, "relative to the hips"),
        (["--format", "vmc", "--keys", "k"], 1, "vmc cannot be encrypted"),
        (["--format", "vmc", "--to", "192.0.2.1:39539"], 1, "is another computer"),
        (["--keys", "/nowhere"], 1, "/nowhere/publisher.key_secret: no such key"),
        (["--format", "vmc", "--record", "x.mcap"], 1, "native format only, found --format vmc"),
        (["--format", "jsonl", "--no-publish"], 1, "nothing would leave as --format jsonl"),
        (["--format", "jsonl", "--json", "-"], 1, "goes to standard output as well"),
        (["--min-score", "0.5"], 1, "--min-score: native sends everybody"),
    ],
)
def test_what_does_not_go_together_is_said(
    kinestream: Command, block_video: Video, arguments: list[str], code: int, complaint: str
) -> None:
    found, _, err = kinestream("run", block_video(WALK[:2]), *arguments)
    assert found == code and complaint in err and "Traceback" not in err
