"""Poses for avatars: the Virtual Motion Capture protocol (protocol.vmc.info), OSC over UDP.

Sent for one person: ``/VMC/Ext/OK``, ``/VMC/Ext/T``, ``/VMC/Ext/Root/Pos``, and ``/VMC/Ext/Bone/Pos`` for
the 22 bones of Unity's humanoid that have a joint here, as position and rotation relative to the parent bone,
in Unity's left-handed axes. Who faces the camera faces the viewer: the avatar then looks along +z, all
rotations identity in a T-pose.
"""

import logging
import re
import socket
import threading
import time
from typing import Any, Final

import numpy as np

from kinestream.body.skeleton import FLOW_JOINT_NAMES, PARENTS
from kinestream.geometry.quaternion import multiply, rotate
from kinestream.kernels.array_types import Float64Array
from kinestream.pose import Clock, Person, PoseFrame
from kinestream.stream.axes import Origin, OutputFrame
from kinestream.stream.base_publisher import BasePublisher
from kinestream.stream.binding import InsecureBindError
from kinestream.stream.endpoint import is_address, is_loopback
from kinestream.stream.message import PoseMessage
from kinestream.stream.publisher import new_identity

log = logging.getLogger(__name__)

DEFAULT_ADDRESS: Final = "127.0.0.1:39539"
"""Where applications that draw avatars listen."""
BUNDLED: Final = 12
"""Messages per datagram, which keeps it below what networks carry in one piece."""
RETRY_S: Final = 5.0
"""Between two questions for the address of a name."""
_ADDRESS: Final = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+):(\d{1,5})")
_UNITY: Final = OutputFrame("unity")
_BONES: Final = dict(
    zip(
        ("pelvis", *FLOW_JOINT_NAMES),
        (
            "Hips", "LeftUpperLeg", "RightUpperLeg", "Spine", "LeftLowerLeg", "RightLowerLeg", "Chest",
            "LeftFoot", "RightFoot", "UpperChest", "LeftToes", "RightToes", "Neck", "LeftShoulder",
            "RightShoulder", "Head", "LeftUpperArm", "RightUpperArm", "LeftLowerArm", "RightLowerArm",
            "LeftHand", "RightHand",
        ),
        strict=True,
    )
)  # fmt: skip


class VmcSender(BasePublisher):
    """Sends the person who has been followed longest, and the same one for as long as he is followed."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        source: str = "",
        insecure: bool = False,
        origin: Origin = "hips",
        tilt_rad: float = 0.0,
    ) -> None:
        """Send to ``host:port``.

        Args:
            address: of the application that draws the avatar.
            source: what is tracked, for people to read.
            insecure: allow another computer; the protocol has no protection.
            origin: ``hips``: the avatar stands at the origin, its lowest joint on the floor. ``camera``: its
                hips are where they are seen from the camera. ``floor``: from the floor under it.
            tilt_rad: how far the camera looks down.

        Raises ``ValueError`` for the address, ``InsecureBindError`` for another computer without consent, and
        ``ImportError`` without the extra ``osc``.
        """
        try:
            import pythonosc.osc_bundle_builder  # noqa: F401
        except ImportError as error:
            raise ImportError("vmc: needs python-osc; pip install 'kinestream[osc]'") from error
        match = _ADDRESS.fullmatch(address)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError(
                f"{address!r} is no address to send to; expected host:port, for IPv6 [host]:port, port "
                f"1 to 65535, e.g. {DEFAULT_ADDRESS}"
            )
        host, port = match[1].strip("[]"), int(match[2])
        if not insecure and not is_loopback(host):
            raise InsecureBindError(
                f"{address} is another computer, and anybody on the way could read the poses; send to "
                f"{DEFAULT_ADDRESS}, or allow it with insecure=True (--insecure)"
            )
        self._axes = OutputFrame("camera", tilt_rad, origin)
        super().__init__(new_identity(source), f"udp://{address}")
        self._lock = threading.Lock()
        self._started_ns = time.monotonic_ns()
        self._track_id: int | None = None
        self._failed = False
        self._socket: socket.socket | None = None
        self._address: Any = None
        self._closed = threading.Event()
        if is_address(host):
            self._open(host, port)
        else:  # a name server may take seconds to answer, or be away
            resolver = threading.Thread(
                target=self._resolve, args=(host, port), name="kinestream vmc resolver", daemon=True
            )
            resolver.start()

    def publish(
        self, frame: PoseFrame, *, clock: Clock, lead_ns: int = 0, dropped: int = 0, corrupt: int = 0
    ) -> PoseMessage:
        """Send one person, or that nobody is there; see `BasePublisher.publish`."""
        with self._lock:
            message = self._next_message(frame, clock, lead_ns, dropped, corrupt)
            person = self._chosen(frame)
            seconds = (message.t_publish_ns - self._started_ns) / 1e9
            rows: list[tuple[str, list[Any]]] = [
                ("/VMC/Ext/OK", [1, 3, 0, int(person is not None)]),
                ("/VMC/Ext/T", [seconds]),
            ]
            if person is not None:
                rows.append(("/VMC/Ext/Root/Pos", ["root", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
                for name, position, (w, x, y, z) in bones(person, self._axes.on(frame.ground)):
                    rows.append(("/VMC/Ext/Bone/Pos", [name, *map(float, position), x, y, z, w]))
            for start in range(0, len(rows), BUNDLED):
                self._send(bundle(rows[start : start + BUNDLED]))
        return message

    def publish_stats(self, values: dict[str, Any]) -> None:
        """The protocol has no room for it."""

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._closed.set()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _resolve(self, host: str, port: int) -> None:
        """Body of a thread: ask for the address of a name until it is known, which is once."""
        while not self._closed.is_set():
            try:
                self._open(host, port)
                return
            except OSError as error:
                self._say(f"the name {host} cannot be resolved ({error.strerror or error}); asking again")
            self._closed.wait(RETRY_S)

    def _open(self, host: str, port: int) -> None:
        """Resolve a host and make the socket. Raises ``OSError``."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        self._address, self._socket = address, made

    def _chosen(self, frame: PoseFrame) -> Person | None:
        ranked = sorted(frame, key=lambda p: (p.track_id != self._track_id, -p.age_ns, p.track_id))
        self._track_id = ranked[0].track_id if ranked else None
        return ranked[0] if ranked else None

    def _send(self, data: bytes) -> None:
        if self._socket is None:  # its address is not known yet
            return
        try:
            self._socket.sendto(data, self._address)
        except OSError as error:  # nobody may listen yet, the network may be away for a moment
            self._say(f"{error}; trying on")

    def _say(self, fault: str) -> None:
        """Warn, once."""
        if not self._failed:
            log.warning("%s: %s", self.endpoint, fault)
        self._failed = True


def bones(person: Person, level: OutputFrame) -> list[tuple[str, Float64Array, list[float]]]:
    """Name, local position (3,) and local rotation wxyz of every bone, parents first, in Unity's axes."""
    from kinestream.geometry.rotation import quat_from_matrix

    world = -level.world  # right, up, and out of the picture: the viewer's side, in left-handed axes
    turn = quat_from_matrix(world @ _UNITY.body.T)
    local = _UNITY.joint_quats(np.concatenate([person.root_quat_wxyz[None], person.joint_quats_wxyz]))
    local[0] = multiply(turn, local[0])
    joints = (person.joints_cam_m.astype(np.float64) - person.translation_m) @ world.T
    place = np.array([0, -joints[:, 1].min(), 0])
    if level.origin != "hips":
        place = world @ person.translation_m - level.eye
    rows = [("Hips", place, local[0].tolist())]
    turned = [local[0]]
    for joint, name in enumerate(_BONES.values()):
        if joint:
            parent = PARENTS[joint]
            offset = rotate(turned[parent] * [1, -1, -1, -1], joints[joint] - joints[parent])
            turned.append(multiply(turned[parent], local[joint]))
            rows.append((name, offset, local[joint].tolist()))
    return rows


def bundle(rows: list[tuple[str, list[Any]]]) -> bytes:
    """OSC messages (address, arguments) as one bundle for immediate use."""
    from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscBundleBuilder(IMMEDIATELY)
    for address, arguments in rows:
        message = OscMessageBuilder(address)
        for argument in arguments:
            message.add_arg(argument)
        builder.add_content(message.build())
    data: bytes = builder.build().dgram
    return data
