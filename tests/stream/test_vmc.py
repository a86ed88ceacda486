"""OSC datagrams read back by a few lines written from the OSC 1.0 and VMC specifications alone."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.skeleton import PARENTS
from kinestream.pose import PoseFrame
from kinestream.stream import InsecureBindError

pytest.importorskip("pythonosc", reason="needs python-osc, the extra 'osc'")

from kinestream.stream.adapters import VmcSender

Make = Callable[..., PoseFrame]
BONES = {
    "Hips": 0, "LeftUpperLeg": 1, "RightUpperLeg": 2, "Spine": 3, "LeftLowerLeg": 4, "RightLowerLeg": 5,
    "Chest": 6, "LeftFoot": 7, "RightFoot": 8, "UpperChest": 9, "LeftToes": 10, "RightToes": 11, "Neck": 12,
    "LeftShoulder": 13, "RightShoulder": 14, "Head": 15, "LeftUpperArm": 16, "RightUpperArm": 17,
    "LeftLowerArm": 18, "RightLowerArm": 19, "LeftHand": 20, "RightHand": 21,
}  # fmt: skip


def text_at(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), (end + 4) // 4 * 4


def messages(bundle: bytes) -> Iterator[tuple[str, list[Any]]]:
    assert bundle[:8] == b"#bundle\0" and bundle[8:16] == (1).to_bytes(8, "big"), "for immediate use"
    at = 16
    while at < len(bundle):
        (size,) = struct.unpack_from(">i", bundle, at)
        content = bundle[at + 4 : at + 4 + size]
        at += 4 + size
        address, here = text_at(content, 0)
        kinds, here = text_at(content, here)
        values: list[Any] = []
        for kind in kinds[1:]:
            if kind == "s":
                value, here = text_at(content, here)
            else:
                (value,) = struct.unpack_from({"f": ">f", "i": ">i"}[kind], content, here)
                here += 4
            values.append(value)
        yield address, values


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        yield receiver


def sent(receiver: socket.socket, frame: PoseFrame, **options: Any) -> list[tuple[str, list[Any]]]:
    host, port = receiver.getsockname()
    with VmcSender(f"{host}:{port}", **options) as sender:
        sender.publish(frame, clock="monotonic")
    found: list[tuple[str, list[Any]]] = []
    while len(found) < (2 if not frame.persons else 25):
        datagram = receiver.recv(65536)
        assert len(datagram) < 1400
        found.extend(messages(datagram))
    return found


def bones_of(found: list[tuple[str, list[Any]]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {row[0]: (np.array(row[1:4]), np.array(row[4:8])) for a, row in found if a == "/VMC/Ext/Bone/Pos"}


def test_a_t_pose_that_faces_the_camera_is_the_avatar_at_rest(
    receiver: socket.socket, pose_frame: Make
) -> None:
    """All rotations are identity, the left arm points to -x, the toes to +z, the head up."""
    joints = np.tile([0.25, -0.5, 3.0], (24, 1))
    joints[16:24:2] += [[0.2, -0.4, 0], [0.5, -0.4, 0], [0.8, -0.4, 0], [0.9, -0.4, 0]]
    joints[15] += [0, -0.6, 0]
    joints[[7, 8]] += [0, 0.9, 0]
    joints[10] += [0, 0.95, -0.1]
    found = sent(receiver, pose_frame(0, joints_cam_m=joints))
    assert found[0] == ("/VMC/Ext/OK", [1, 3, 0, 1])
    assert found[1][0] == "/VMC/Ext/T" and 0 <= found[1][1][0] < 60
    assert found[2] == ("/VMC/Ext/Root/Pos", ["root", 0, 0, 0, 0, 0, 0, 1])
    bones = bones_of(found)
    assert set(bones) == set(BONES)
    for _, quat_xyzw in bones.values():
        np.testing.assert_allclose(np.abs(quat_xyzw), [0, 0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(bones["Hips"][0], [0, 0.95, 0], atol=1e-6)
    np.testing.assert_allclose(bones["LeftLowerArm"][0], [-0.3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(bones["LeftToes"][0], [0, -0.05, 0.1], atol=1e-6)
    np.testing.assert_allclose(bones["Head"][0], [0, 0.6, 0], atol=1e-6)


def test_any_pose_put_together_again_is_the_one_in_front_of_the_camera(
    receiver: socket.socket, pose_frame: Make
) -> None:
    """Walk the bones as Unity does; the joints must come out mirrored through the camera's point."""
    rotations = Rotation.random(22, random_state=4)
    joints = np.random.default_rng(4).normal(size=(24, 3)) + [0, 0, 4]
    frame = pose_frame(
        0,
        root_quat_wxyz=rotations[0].as_quat(scalar_first=True),
        joint_quats_wxyz=rotations[1:].as_quat(scalar_first=True),
        joints_cam_m=joints,
        translation_m=joints[0],
    )
    bones = bones_of(sent(receiver, frame, origin="camera"))
    places: dict[int, np.ndarray] = {}
    turns: dict[int, Rotation] = {}
    for name, joint in BONES.items():
        place, quat_xyzw = bones[name]
        turn = Rotation.from_quat(quat_xyzw)
        parent = PARENTS[joint]
        if parent >= 0:
            place = places[parent] + turns[parent].apply(place)
            turn = turns[parent] * turn
        places[joint], turns[joint] = place, turn
        np.testing.assert_allclose(place, -joints[joint], atol=1e-4)
    # And the rotations are those of the body, seen through the same mirror on both sides.
    flip = np.diag([-1.0, 1, 1])
    turned = rotations[0] * rotations[3]
    np.testing.assert_allclose(turns[3].as_matrix(), -turned.as_matrix() @ flip, atol=1e-5)


def test_nobody_is_said_and_somebody_is_kept(receiver: socket.socket, pose_frame: Make) -> None:
    found = sent(receiver, pose_frame())
    assert [address for address, _ in found] == ["/VMC/Ext/OK", "/VMC/Ext/T"]
    assert found[0][1] == [1, 3, 0, 0]
    with VmcSender("127.0.0.1:9") as sender:
        first = pose_frame(5).persons
        assert sender._chosen(pose_frame(5)) == first[0]
        assert sender._chosen(pose_frame(1, 5)) == first[0], "also when another comes"
        other = sender._chosen(pose_frame(1, 7))
        assert other is not None and other.track_id == 1


def test_addresses_are_checked(pose_frame: Make) -> None:
    with pytest.raises(InsecureBindError, match="is another computer"):
        VmcSender("192.0.2.1:39539")
    for address in ("39539", "localhost:", "localhost:0", "localhost:x"):
        with pytest.raises(ValueError, match="expected host:port"):
            VmcSender(address)
    with VmcSender("127.0.0.1:9") as sender:
        for _ in range(3):
            sender.publish(pose_frame(0), clock="media")  # nobody listens: no fault of ours


def test_a_name_is_resolved_once_and_off_the_tracking_thread(
    receiver: socket.socket, pose_frame: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that is away takes seconds for each answer."""
    answer, asked = threading.Event(), []

    def slow(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(threading.current_thread())
        assert answer.wait(60)
        if len(asked) == 1:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", receiver.getsockname())]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr("kinestream.stream.adapters.vmc.RETRY_S", 0.01)
    address = f"avatar-pc.lan:{receiver.getsockname()[1]}"
    with VmcSender(address, insecure=True) as sender:
        sender.publish(pose_frame(0), clock="media")  # would wait for the answer, and for ever here
        answer.set()
        deadline = time.monotonic() + 30
        while not received(receiver) and time.monotonic() < deadline:
            sender.publish(pose_frame(0), clock="media")
        assert time.monotonic() < deadline, "nothing was sent"
        for _ in range(20):
            sender.publish(pose_frame(0), clock="media")
    assert len(asked) == 2 and threading.current_thread() not in asked


def received(receiver: socket.socket) -> bool:
    receiver.settimeout(0.05)
    try:
        return bool(receiver.recv(65536))
    except TimeoutError:
        return False


@pytest.mark.parametrize("address", ["[::1]:39539", "127.0.0.1:1"])
def test_addresses_of_both_kinds(address: str, pose_frame: Make) -> None:
    with VmcSender(address) as sender:
        assert sender.endpoint == f"udp://{address}"
        sender.publish(pose_frame(0), clock="media")


@pytest.mark.parametrize("address", ["h:0", "h:80800", "::1:39539", "h", ":5"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        VmcSender(address, insecure=True)
