"""`--ws` as a user types it: real processes, and a client that is not ours."""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kinestream.stream import PoseMessage, Publisher, Recorder, decode, read_messages
from kinestream.stream.keys import create_client_keys, create_publisher_keys

client = pytest.importorskip("websockets.sync.client", reason="needs websockets, the extra 'ws'")
from websockets.exceptions import InvalidStatus  # noqa: E402

Video = Callable[..., Path]
Command = Callable[..., tuple[int, str, str]]
Start = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parents[2]
ANY = ("--bind", "tcp://127.0.0.1:0", "--ws", "127.0.0.1:0")
PATIENCE_S = 60


@contextmanager
def address_of(process: "subprocess.Popen[str]") -> Iterator[str]:
    """Where a process that runs says that it serves; ends it."""
    said = ""
    try:
        assert process.stderr is not None
        while (found := re.search(r"(ws://\S+:\d+);", said)) is None:
            line = process.stderr.readline()
            assert line, f"ended with: {said}"
            said += line
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    pytest.importorskip("mcap", reason="needs mcap, the extra 'record'")
    path = tmp_path / "walk.mcap"
    golden = decode((ROOT / "tests" / "golden" / "wire_v1_pose.bin").read_bytes())
    assert isinstance(golden, PoseMessage)
    with Publisher("inproc://recorded", heartbeat_s=None) as publisher, Recorder(path) as recorder:
        publisher.on_message = recorder.add
        for _ in range(5):
            publisher.publish(golden.frame, clock="media")
    return path


def test_run_serves_browsers_what_it_publishes(start_kinestream: Start, block_video: Video) -> None:
    video = block_video([{0: (40 + i % 100, 60, 50, 120)} for i in range(200)])
    process = start_kinestream(
        "run", video, "--policy", "paced", *ANY, "--ws-origin", "https://app.example.org"
    )
    with address_of(process) as address:
        with pytest.raises(InvalidStatus, match="403"):
            client.connect(address, origin="https://evil.example.org")
        with client.connect(address, origin="https://app.example.org") as connection:
            messages = [decode(connection.recv(timeout=PATIENCE_S)) for _ in range(20)]
    poses = [message for message in messages if isinstance(message, PoseMessage)]
    assert [m.sequence for m in poses] == list(range(poses[0].sequence, poses[0].sequence + len(poses)))
    assert len(poses) > 10 and len(poses[-1].frame) == 1


def test_replay_with_keys_serves_who_has_a_token(
    start_kinestream: Start, recording: Path, tmp_path: Path
) -> None:
    folder = create_publisher_keys(tmp_path / "keys")
    token = (create_client_keys(folder, "headset") / "websocket.token").read_text().strip()
    process = start_kinestream("-v", "replay", recording, "--loop", *ANY, "--keys", folder)
    with address_of(process) as address:
        with pytest.raises(InvalidStatus, match="403"):
            client.connect(address)
        with client.connect(f"{address}/?token={token}") as connection:
            got = {connection.recv(timeout=PATIENCE_S) for _ in range(5)}
    assert got == {message.data for message in read_messages(recording)}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--ws", "--no-publish"), "--ws: nothing is published with --no-publish"),
        (("--ws", "--format", "jsonl"), "--ws: jsonl is not what is served to browsers"),
        (("--ws-origin", "https://a.example"), "--ws-origin: nothing is served to pages; add --ws"),
        (("--ws", "0.0.0.0:5558"), "0.0.0.0:5558 can be reached from other computers"),
        (("--ws", "127.0.0.1:0", "--ws-origin", "a.example"), "origin: expected SCHEME://HOST"),
    ],
)
@pytest.mark.usefixtures("stand_ins")
def test_what_does_not_go_together(
    options: tuple[str, ...], why: str, kinestream: Command, block_video: Video
) -> None:
    code, _, err = kinestream("run", block_video([{}] * 3), "--bind", "tcp://127.0.0.1:0", *options)
    assert code == 1 and why in err


@pytest.mark.usefixtures("stand_ins")
def test_alone_it_stands_for_its_default(kinestream: Command, block_video: Video) -> None:
    """Whatever else has that port: the address is named."""
    video = block_video([{}] * 3)
    for words in (("run", "--ws", video), ("run", video, "--ws", "--bind", "tcp://127.0.0.1:0")):
        assert "127.0.0.1:5558" in kinestream(*words)[2]
