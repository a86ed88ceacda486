"""The wire format: round trip, golden bytes, an independent reading of them, and hostile input."""

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry.level import Ground
from kinestream.pose import PoseFrame
from kinestream.stream.axes import OutputFrame
from kinestream.stream.message import (
    HeartbeatMessage,
    Message,
    MessageError,
    PoseMessage,
    StatsMessage,
    StreamIdentity,
    decode,
    encode,
)

GOLDEN = Path(__file__).parent.parent / "golden"
IDENTITY = StreamIdentity(stream_id="0123456789abcdef", clock_id="boot-1", source="clip.mp4")
Make = Callable[..., PoseFrame]


def messages(pose_frame: Make) -> dict[str, Message]:
    pose = PoseMessage(
        identity=IDENTITY,
        sequence=7,
        t_publish_ns=5_000_000_123,
        clock="media",
        lead_ns=0,
        dropped=3,
        corrupt=1,
        frame=pose_frame(2, vertices_cam_m=np.arange(6).reshape(2, 3) / 4),
    )
    nobody = PoseMessage(
        identity=IDENTITY,
        sequence=8,
        t_publish_ns=5_033_000_123,
        clock="monotonic",
        lead_ns=20_000_000,
        dropped=3,
        corrupt=1,
        frame=pose_frame(frame_index=42),
    )
    ground = Ground(tilt_rad=0.25, roll_rad=-0.125, std_rad=0.0625, height_m=1.5, height_std_m=0.125)
    output = OutputFrame("ros", origin="floor").on(ground)
    level = dataclasses.replace(
        nobody, frame=dataclasses.replace(output.apply(pose_frame(2)), ground=ground), output=output
    )
    heartbeat = HeartbeatMessage(
        identity=IDENTITY,
        next_sequence=9,
        t_publish_ns=6_000_000_000,
        t_unix_ns=1_700_000_000_000_000_000,
    )
    stats = StatsMessage(
        identity=IDENTITY,
        t_publish_ns=6_000_000_000,
        values={"fps_in": 30.0, "engine": "torch", "stage_ms": {"regress": {"p50": 8.5}}},
    )
    return {"pose": pose, "nobody": nobody, "ground": level, "heartbeat": heartbeat, "stats": stats}


@pytest.mark.parametrize("name", ["pose", "nobody", "ground", "heartbeat", "stats"])
def test_round_trip(pose_frame: Make, name: str) -> None:
    message = messages(pose_frame)[name]
    assert decode(encode(message)) == message


@pytest.mark.parametrize("name", ["pose", "nobody", "ground", "heartbeat", "stats"])
def test_golden_bytes(pose_frame: Make, name: str) -> None:
    """A change of these bytes is a change of the format: raise the version and write new files."""
    message = messages(pose_frame)[name]
    golden = (GOLDEN / f"wire_v1_{name}.bin").read_bytes()
    assert encode(message) == golden
    assert decode(golden) == message


def test_the_golden_pose_by_the_document_alone() -> None:
    """Reads the bytes with msgpack and struct only, as docs/wire.md tells other languages to."""
    topic, packed = (GOLDEN / "wire_v1_pose.bin").read_bytes().split(b"\0", 1)
    content = msgpack.unpackb(packed)
    assert topic == b"pose" and content["version"] == 1 and content["sequence"] == 7
    assert content["camera"] == {
        "width_px": 1280,
        "height_px": 720,
        "focal_px": [1000.0, 1000.5],
        "center_px": [639.5, 359.5],
        "distortion": [0.125, -0.25, 0.0, 0.0],
    }
    (person,) = content["persons"]
    joints = struct.unpack("<72f", person["joints_cam_m"])
    assert joints[3:6] == (1 + 3 / 64, 1 + 4 / 64, 1 + 5 / 64), "joint 1, left_hip"
    assert struct.unpack("<4f", person["root_quat_wxyz"]) == (0, 1, 0, 0)
    assert struct.unpack("<69f", person["keypoints_px"])[2::3] == (0.5,) * 23
    assert struct.unpack("<6f", person["vertices_cam_m"]) == (0, 0.25, 0.5, 0.75, 1, 1.25)
    assert person["state"] == "tracked" and person["track_id"] == 2 and person["score"] == 0.75


def test_the_document_names_every_field() -> None:
    document = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
    keys: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            keys.update(value)
            for entry in value.values():
                collect(entry)
        elif isinstance(value, list):
            for entry in value:
                collect(entry)

    for name in ("pose", "nobody", "ground", "heartbeat"):
        collect(msgpack.unpackb((GOLDEN / f"wire_v1_{name}.bin").read_bytes().split(b"\0", 1)[1]))
    assert [key for key in sorted(keys) if f"`{key}`" not in document] == []


def changed(pose_frame: Make, path: str, value: Any) -> bytes:
    """The golden pose with one entry replaced (or removed, by ``...``)."""
    topic, packed = encode(messages(pose_frame)["pose"]).split(b"\0", 1)
    content = msgpack.unpackb(packed)
    at: Any = content
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in parents:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return topic + b"\0" + msgpack.packb(content)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("version", 2, "schema version 2, this client reads 1"),
        ("version", ..., "schema version None"),
        ("sequence", "7", "sequence: expected int, found str"),
        ("sequence", True, "sequence: expected int, found bool"),
        ("t_capture_ns", ..., "t_capture_ns: expected int, found NoneType"),
        ("units", "mm", "units: expected 'm', found 'mm'"),
        ("axes", "maya", "axes: expected one of opencv, ros, unity, blender, found 'maya'"),
        ("axes", ["ros"], "axes: expected one of"),
        ("origin", "moon", "origin: expected one of camera, hips, floor, found 'moon'"),
        ("tilt_rad", "much", "tilt_rad: expected float, found str"),
        ("tilt_rad", 7.0, "tilt: expected -90 to 90 degrees"),
        ("roll_rad", 4.0, "roll: expected -180 to 180 degrees"),
        ("ground", 1.5, "ground: expected dict, found float"),
        ("ground", {"std_rad": 0.1}, "height_m: expected float, found NoneType"),
        ("ground", {"std_rad": -0.1, "height_m": 1.0, "height_std_m": 0.1}, "deviations from 0"),
        ("ground", {"std_rad": 0.1, "height_m": float("nan"), "height_std_m": 0.1}, "finite numbers"),
        ("clock", "sundial", "clock: expected media or monotonic"),
        ("persons", {}, "persons: expected list, found dict"),
        ("persons", [3], "persons: expected maps, found int"),
        ("persons", [{}] * 300, "at most 256 are accepted, found 300"),
        ("camera/focal_px", [1.0], "focal_px: expected 2 numbers, found 1"),
        ("camera/focal_px", [-1.0, 1.0], "focal_px must be two positive numbers"),
        ("persons/0/joints_cam_m", b"\0" * 284, "cannot reshape"),
        (
            "persons/0/joints_cam_m",
            struct.pack("<72f", *[float("nan")] * 72),
            "joints_cam_m: expected finite",
        ),
        ("persons/0/betas", "text", "betas: expected bytes, found str"),
        ("persons/0/betas", ..., "betas: expected bytes, found NoneType"),
        ("persons/0/state", "gone", "state: expected one of"),
        ("persons/0/track_id", -1, "track_id: expected at least 0"),
    ],
)
def test_what_breaks_the_schema_is_named(pose_frame: Make, path: str, value: Any, complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        decode(changed(pose_frame, path, value))


def test_unknown_fields_are_ignored(pose_frame: Make) -> None:
    """Later versions may add fields without a new version number."""
    assert decode(changed(pose_frame, "persons/0/mood", "good")) == messages(pose_frame)["pose"]


def test_readers_that_know_no_ground_read_the_rest(pose_frame: Make) -> None:
    """What an older client drops leaves it levelled positions, and the axes that it asked for."""
    message = messages(pose_frame)["ground"]
    assert isinstance(message, PoseMessage)
    topic, packed = encode(message).split(b"\0", 1)
    content = msgpack.unpackb(packed)
    assert content["ground"] == {"std_rad": 0.0625, "height_m": 1.5, "height_std_m": 0.125}
    assert (content["tilt_rad"], content["roll_rad"], content["origin"]) == (0.25, -0.125, "floor")
    old = {key: content[key] for key in content if key not in ("ground", "roll_rad")}
    read = decode(topic + b"\0" + msgpack.packb(old | {"origin": "camera"}))
    assert isinstance(read, PoseMessage) and read.frame.persons == message.frame.persons


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutations_never_raise_anything_else(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["pose", "nobody", "heartbeat", "stats"]))
    raw = bytearray((GOLDEN / f"wire_v1_{name}.bin").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for mutation in (bytes(raw), bytes(raw[:cut])):
        try:
            decode(mutation)
        except MessageError:
            continue


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(MessageError):
        decode(b"pose\0" + noise)


def test_huge_messages_are_refused_unread() -> None:
    with pytest.raises(MessageError, match="at most 16777216 are accepted"):
        decode(bytes((1 << 24) + 1))
