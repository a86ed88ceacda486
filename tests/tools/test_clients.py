"""The clients in other languages read the golden messages, and take any broken message calmly."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from kinestream.stream import HeartbeatMessage, MessageError, PoseMessage, decode

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tools" / "clients"
GOLDEN = [
    (ROOT / "tests" / "golden" / f"wire_v1_{name}.bin").read_bytes()
    for name in ("pose", "nobody", "heartbeat", "stats")
]
ARRAYS = (
    "box_xyxy_px", "root_quat_wxyz", "translation_m", "joint_quats_wxyz", "betas", "joints_cam_m",
    "joint_std_m", "keypoints_cam_m", "keypoints_px", "vertices_cam_m",
)  # fmt: skip
node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js (node)")
cpp = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler (g++)")


def broken() -> list[bytes]:
    """Changed bytes, cuts and changed fields of the golden messages."""
    random = np.random.default_rng(5)
    mutations = []
    for number in range(1500):
        raw = bytearray(GOLDEN[number % 4])
        for _ in range(random.integers(1, 6)):
            raw[random.integers(min(len(raw), 500))] = random.integers(256)
        mutations.append(bytes(raw[: random.integers(len(raw))]) if number % 3 == 0 else bytes(raw))
    content = msgpack.unpackb(GOLDEN[0].split(b"\0", 1)[1])
    for key in content:
        for value in ({}, [], None, b"", "\n", -1, 1.5):
            mutations.append(b"pose\0" + msgpack.packb({**content, key: value}))
    return [*mutations, b"", b"pose", b"pose\0", b"pose\0" + b"\x91" * 100_000, b"pose\0\xdd\xff\xff\xff\xff"]


def written(path: Path, messages: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(len(m).to_bytes(4, "little") + m for m in messages))
    return path


def understood(data: bytes) -> bool:
    try:
        decode(data)
    except MessageError:
        return False
    return True


def run(*command: object) -> list[str]:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def check_cpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ reader, with every warning on, and watched for reads and arithmetic out of bounds."""
    program = tmp_path_factory.mktemp("cpp") / "check"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    flags += ["-fno-sanitize-recover"]
    run("g++", *flags, CLIENTS / "cpp" / "check.cpp", "-o", program)
    return program


@node
def test_javascript_reads_the_golden_messages(tmp_path: Path) -> None:
    rows: list[Any] = [
        json.loads(line)
        for line in run("node", CLIENTS / "js" / "check.mjs", written(tmp_path / "m.bin", GOLDEN))
    ]
    for row, data in zip(rows, GOLDEN, strict=True):
        message = decode(data)
        assert int(row["t_publish_ns"]) == message.t_publish_ns
        assert row["stream_id"] == message.identity.stream_id
        if isinstance(message, PoseMessage):
            assert (row["topic"], row["sequence"]) == ("pose", message.sequence)
            assert int(row["t_capture_ns"]) == message.frame.t_capture_ns
            assert row["camera"]["focal_px"] == list(message.frame.camera.focal_px)
            for found, person in zip(row["persons"], message.frame, strict=True):
                assert (found["track_id"], found["state"]) == (person.track_id, person.state)
                for name in ARRAYS:
                    assert found[name] == getattr(person, name).ravel().tolist()
        elif isinstance(message, HeartbeatMessage):
            assert int(row["t_unix_ns"]) == message.t_unix_ns and len(row["joint_names"]) == 24
        else:
            assert row["values"] == message.values


@cpp
def test_cpp_reads_the_golden_messages(tmp_path: Path, check_cpp: Path) -> None:
    pose, nobody, heartbeat, stats = (
        line.split() for line in run(check_cpp, written(tmp_path / "m.bin", GOLDEN))
    )
    message = decode(GOLDEN[0])
    assert isinstance(message, PoseMessage)
    assert pose[:10] == "pose 7 5000000123 1366666666 0 0 0 opencv camera 1000.5".split()
    (person,) = message.frame.persons
    assert pose[10:13] == ["2", "tracked", "0.75"]
    expected = np.concatenate([getattr(person, name).ravel() for name in ARRAYS])
    np.testing.assert_array_equal(np.array(pose[13:], np.float32), expected)
    assert nobody == "pose 8 5033000123 1366666666 20000000 0 0 opencv camera 1000.5".split()
    assert heartbeat[:7] == "heartbeat 0 6000000000 0 0 9 1700000000000000000".split()
    assert stats[0] == "stats"


@node
def test_javascript_survives_broken_messages(tmp_path: Path) -> None:
    messages = broken()
    rows = run("node", CLIENTS / "js" / "check.mjs", written(tmp_path / "m.bin", messages))
    assert len(rows) == len(messages)
    refused = ["malformed" in json.loads(row) for row in rows]
    assert sum(refused) > 500
    assert not [m for m, no in zip(messages, refused, strict=True) if no and understood(m)]


@cpp
def test_cpp_survives_broken_messages(tmp_path: Path, check_cpp: Path) -> None:
    messages = broken()
    rows = run(check_cpp, written(tmp_path / "m.bin", messages))
    refused = [row.startswith("malformed") for row in rows if row[:1]]
    assert len(refused) == len(messages) and sum(refused) > 500
    assert not [m for m, no in zip(messages, refused, strict=True) if no and understood(m)]
