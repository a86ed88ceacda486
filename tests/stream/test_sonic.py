"""The packed-message protocol, read back as its public description says, with none of the encoder's code."""

import json
import logging
import math
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zmq
from scipy.spatial.transform import Rotation

from kinestream.geometry.level import Ground, level_from_camera
from kinestream.pose import PoseFrame
from kinestream.stream import InsecureBindError
from kinestream.stream.adapters import SonicPublisher
from kinestream.stream.adapters.sonic import RATE_HZ
from kinestream.stream.fixed_rate import FixedRate

Make = Callable[..., PoseFrame]
FORMATS = {"f32": ("f", 4), "f64": ("d", 8), "i32": ("i", 4), "i64": ("q", 8)}
REQUIRED = {
    2: {"body_quat": [1, 4], "frame_index": [1], "smpl_joints": [1, 24, 3], "smpl_pose": [1, 21, 3]},
    3: {
        "body_quat": [1, 4], "frame_index": [1], "smpl_joints": [1, 24, 3], "smpl_pose": [1, 21, 3],
        "joint_pos": [1, 29], "joint_vel": [1, 29],
    },
}  # fmt: skip


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays: topic, 1280 bytes of JSON padded with zeros, fields in the order of the header."""
    assert data[:4] == b"pose"
    text, _, padding = data[4:1284].partition(b"\0")
    assert set(padding) <= {0}
    header = json.loads(text)
    assert header["endian"] == "le"
    arrays, at = {}, 1284
    for field in header["fields"]:
        letter, size = FORMATS[field["dtype"]]
        count = math.prod(field["shape"])
        values = struct.unpack_from(f"<{count}{letter}", data, at)
        arrays[field["name"]] = np.reshape(values, field["shape"])
        at += count * size
    assert at == len(data)
    return header, arrays


@pytest.fixture(params=[2, 3])
def link(request: pytest.FixtureRequest) -> Iterator[tuple[SonicPublisher, "zmq.Socket[bytes]"]]:
    """A publisher and a plain subscriber of the topic, as a controller has it."""
    with SonicPublisher("tcp://127.0.0.1:0", version=request.param) as publisher:
        socket = zmq.Context.instance().socket(zmq.SUB)
        socket.subscribe(b"pose")
        socket.connect(publisher.endpoint)
        while not socket.poll(10):
            publisher._binding.send(b"pose hello")
        while socket.poll(200):
            socket.recv()
        yield publisher, socket
        socket.close(linger=0)


def test_a_person_arrives_as_the_protocol_says(
    link: tuple[SonicPublisher, "zmq.Socket[bytes]"], pose_frame: Make
) -> None:
    publisher, socket = link
    root, joints = Rotation.random(random_state=1), np.random.default_rng(1).normal(size=(24, 3))
    joints[0] = [0.25, -0.5, 3]
    local = Rotation.from_rotvec(np.random.default_rng(2).normal(size=(21, 3)))
    frame = pose_frame(
        0,
        score=0.9,
        root_quat_wxyz=root.as_quat(scalar_first=True),
        joint_quats_wxyz=local.as_quat(scalar_first=True),
        joints_cam_m=joints,
    )
    received = []
    for _ in range(3):
        publisher.publish(frame, clock="monotonic")
        assert socket.poll(5000)
        received.append(unpacked(socket.recv()))
    header, arrays = received[0]
    assert {f["name"]: f["shape"] for f in header["fields"]} == REQUIRED[header["v"]]
    assert header["count"] == 1
    assert [int(arrays["frame_index"][0]) for _, arrays in received] == [0, 1, 2]
    # The conversion which the project publishes for SMPL poses, y up: turn to z up, then take away the base
    # rotation (0.5, 0.5, 0.5, 0.5), then express the joints without the root's rotation.
    y_up = Rotation.from_matrix(np.diag([1.0, -1, -1]))
    to_z_up = Rotation.from_euler("x", 90, degrees=True)
    base = Rotation.from_quat([0.5, 0.5, 0.5, 0.5])
    body = to_z_up * y_up * root * base.inv()
    expected = body.inv().apply((to_z_up * y_up).apply(joints - joints[0]))
    sent = Rotation.from_quat(arrays["body_quat"][0], scalar_first=True)
    assert (sent.inv() * body).magnitude() < 1e-5
    np.testing.assert_allclose(arrays["smpl_joints"][0], expected, atol=1e-5)
    assert (Rotation.from_rotvec(arrays["smpl_pose"][0]).inv() * local).magnitude().max() < 1e-5
    if header["v"] == 3:
        assert not arrays["joint_pos"].any() and not arrays["joint_vel"].any()


def test_upright_and_facing_the_camera_by_hand(
    link: tuple[SonicPublisher, "zmq.Socket[bytes]"], pose_frame: Make
) -> None:
    """The left hand 1 m to the picture's right of the pelvis, the head 0.5 m above, a toe 0.2 m nearer."""
    publisher, socket = link
    joints = np.tile([0.25, -0.5, 3.0], (24, 1))
    joints[22] += [1, 0, 0]
    joints[15] += [0, -0.5, 0]
    joints[10] += [0, 0, -0.2]
    publisher.publish(pose_frame(0, score=0.9, joints_cam_m=joints), clock="monotonic")
    assert socket.poll(5000)
    _, arrays = unpacked(socket.recv())
    np.testing.assert_allclose(arrays["smpl_joints"][0][22], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(arrays["smpl_joints"][0][15], [0, 0, 0.5], atol=1e-6)
    np.testing.assert_allclose(arrays["smpl_joints"][0][10], [0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(arrays["smpl_pose"], 0, atol=1e-7)
    upright = Rotation.from_quat(arrays["body_quat"][0], scalar_first=True)
    np.testing.assert_allclose(upright.apply([0, 0, 1]), [0, 0, 1], atol=1e-6)


def test_nothing_is_sent_unless_one_confident_person_is_seen(
    link: tuple[SonicPublisher, "zmq.Socket[bytes]"], pose_frame: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    publisher, socket = link
    good = pose_frame(0, score=0.9)
    blocked = {
        "nobody is in view": pose_frame(),
        "2 people are in view, expected exactly one": pose_frame(0, 1, score=0.9),
        "the person is out of sight": pose_frame(0, score=0.9, state="coasting"),
        "the person's score is below 0.75": pose_frame(0, score=0.7),
    }
    for reason, frame in blocked.items():
        publisher.publish(good, clock="monotonic")
        for _ in range(3):
            publisher.publish(frame, clock="monotonic")
        assert publisher.paused == reason
        assert caplog.text.count(f"sonic: paused, {reason}") == 1
    publisher.publish(good, clock="monotonic")
    indices = []
    while socket.poll(300):
        indices.append(int(unpacked(socket.recv())[1]["frame_index"][0]))
    assert indices == [0, 1, 2, 3, 4], "each good frame, and nothing else"


def test_a_tilted_camera_keeps_people_upright(pose_frame: Make) -> None:
    """Seen from a camera that looks 30 degrees down, somebody upright leans; levelled he does not."""
    tilt = math.radians(30)
    lean = Rotation.from_euler("x", tilt) * Rotation.from_quat([1, 0, 0, 0])
    frame = pose_frame(0, score=0.9, root_quat_wxyz=lean.as_quat(scalar_first=True))
    estimated = Ground(tilt_rad=tilt, roll_rad=0.0, std_rad=0.05, height_m=1.5, height_std_m=0.1)
    for given, ground in ((tilt, None), (0.0, estimated)):
        with SonicPublisher("tcp://127.0.0.1:0", tilt_rad=given) as publisher:
            _, arrays = unpacked(publisher._pack(frame.persons[0], publisher._axes.on(ground).world))
        sent = Rotation.from_quat(arrays["body_quat"][0], scalar_first=True)
        np.testing.assert_allclose(sent.apply([0, 0, 1]), [0, 0, 1], atol=1e-6)


def test_at_50_hz_somebody_who_turns_stays_upright(
    link: tuple[SonicPublisher, "zmq.Socket[bytes]"], pose_frame: Make
) -> None:
    """One radian a second on the spot, seen by a camera that is known to be tilted and rolled."""
    publisher, socket = link
    ground = Ground(tilt_rad=0.5, roll_rad=-0.2, std_rad=0.05, height_m=1.5, height_std_m=0.1)
    held = Rotation.from_matrix(level_from_camera(ground.tilt_rad, ground.roll_rad)).inv()
    start_ns = time.monotonic_ns()

    def tick(t_ns: int) -> None:
        turned = Rotation.from_rotvec([0, -(t_ns - start_ns) / 1e9, 0]) * Rotation.from_quat([1, 0, 0, 0])
        root = (held * turned).as_quat(scalar_first=True)
        frame = replace(pose_frame(0, score=0.9, root_quat_wxyz=root), ground=ground)
        publisher.publish(frame, clock="monotonic")

    beats = FixedRate(RATE_HZ, tick)
    beats.start()
    received = []
    for _ in range(50):
        assert socket.poll(10_000)
        received.append(unpacked(socket.recv())[1])
    beats.stop()
    assert beats.error is None
    assert [int(arrays["frame_index"][0]) for arrays in received] == list(range(50)), "none lost, none twice"
    roots = Rotation.from_quat([arrays["body_quat"][0] for arrays in received], scalar_first=True)
    np.testing.assert_allclose(roots.apply([0, 0, 1]), np.tile([0, 0, 1], (50, 1)), atol=1e-6)
    forward = roots.apply([1, 0, 0])
    headings = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    assert (np.diff(headings) > 0).all(), "in order"
    assert headings[-1] - headings[0] > 49 / RATE_HZ - 0.02, "50 in a second, and never faster"


def test_robots_are_not_driven_by_strangers() -> None:
    with pytest.raises(InsecureBindError):
        SonicPublisher("tcp://0.0.0.0:0")
    with pytest.raises(ValueError, match="version: expected 2 or 3, found 1"):
        SonicPublisher("tcp://127.0.0.1:0", version=1)  # type: ignore[arg-type]
