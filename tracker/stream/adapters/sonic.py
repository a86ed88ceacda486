"""Poses for humanoid whole-body controllers: the packed-message protocol of NVlabs/GR00T-WholeBodyControl.

One ZeroMQ part is the topic ``pose``, a JSON header padded with zero bytes to 1280, and the arrays one after
another, little-endian. Versions 2 and 3 as in that project's ``docs/source/tutorials/zmq.md``:

===============  ===========  =====  =========================================================================
field            shape        type   here
===============  ===========  =====  =========================================================================
``frame_index``  [1]          i64    counts messages
``body_quat``    [1, 4]       f32    wxyz, pelvis (x forward, y left, z up) in a level world with z up
``smpl_joints``  [1, 24, 3]   f32    metres from the pelvis, in the pelvis' own axes (x forward, y left, z up)
``smpl_pose``    [1, 21, 3]   f32    axis-angle of joints 1 to 21 relative to their parents, SMPL axes
``joint_pos``    [1, 29]      f32    version 3: zeros, also for the wrists, which are kept straight
``joint_vel``    [1, 29]      f32    version 3: zeros
===============  ===========  =====  =========================================================================

Yaw of the world is arbitrary: the controller aligns headings when it starts to follow.
"""

import json
import logging
import threading
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from kinestream.defaults import DEFAULT_ENDPOINT
from kinestream.geometry.quaternion import conjugates, from_matrix, multiply, rotate, rotation_vectors
from kinestream.kernels.array_types import AnyArray, Float64Array
from kinestream.pose import Clock, Person, PoseFrame
from kinestream.stream.axes import OutputFrame
from kinestream.stream.base_publisher import BasePublisher
from kinestream.stream.binding import Binding
from kinestream.stream.message import PoseMessage
from kinestream.stream.publisher import new_identity

log = logging.getLogger(__name__)

TOPIC: Final = b"pose"
HEADER_BYTES: Final = 1280
RATE_HZ: Final = 50.0
"""At which controllers play frames; publish at this rate."""
MIN_SCORE: Final = 0.75
_ROBOT_JOINTS: Final = 29
_TYPES: Final = {"f4": "f32", "i8": "i64"}

Version = Literal[2, 3]


class SonicPublisher(BasePublisher):
    """Sends the one person in view; sends nothing, which makes a robot hold its pose, unless all is clear.

    All is clear when exactly one person is followed, was seen in this very frame, and scores at least
    ``min_score``. Pauses and resumptions are logged.

    Attributes:
        paused: why nothing is being sent; empty while it is.
    """

    def __init__(
        self,
        bind: str = DEFAULT_ENDPOINT,
        *,
        version: Version = 3,
        source: str = "",
        insecure: bool = False,
        keys: str | Path | None = None,
        on_busy: Literal["raise", "retry"] = "raise",
        min_score: float = MIN_SCORE,
        tilt_rad: float = 0.0,
    ) -> None:
        """Bind the address.

        Args:
            bind: ZeroMQ endpoint, as for `kinestream.stream.Publisher`.
            version: of the protocol; it must not change while a controller follows.
            source: what is tracked, for people to read.
            insecure: as there.
            keys: as there.
            on_busy: as there.
            min_score: below this score nobody is sent.
            tilt_rad: how far the camera looks down.

        Raises ``BindError``, ``KeysError`` and ``ValueError``.
        """
        if version not in (2, 3):
            raise ValueError(f"version: expected 2 or 3, found {version}")
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score: expected 0 to 1, found {min_score}")
        self._axes = OutputFrame("blender", tilt_rad)  # right, forward, up
        self._binding = Binding(bind, insecure=insecure, keys=keys, on_busy=on_busy)
        super().__init__(new_identity(source), self._binding.endpoint)
        self._version = version
        self._min_score = min_score
        self._sent = 0
        self._lock = threading.Lock()
        self.paused = "nobody was seen yet"

    @property
    def bound(self) -> bool:
        """Whether controllers can connect."""
        return self._binding.bound

    def publish(
        self, frame: PoseFrame, *, clock: Clock, lead_ns: int = 0, dropped: int = 0, corrupt: int = 0
    ) -> PoseMessage:
        """Send the person, or nothing; see `BasePublisher.publish`."""
        with self._lock:
            message = self._next_message(frame, clock, lead_ns, dropped, corrupt)
            reason = self._objection(frame)
            if reason != self.paused:
                log.warning(f"sonic: paused, {reason}" if reason else "sonic: sending")
                self.paused = reason
            if not reason:
                self._binding.send(self._pack(frame.persons[0], self._axes.on(frame.ground).world))
                self._sent += 1
        return message

    def publish_stats(self, values: dict[str, Any]) -> None:
        """The protocol has no room for it; takes the chance to bind an address that was taken."""
        with self._lock:
            self._binding.retry()
            self.endpoint = self._binding.endpoint

    def close(self) -> None:
        """Free the address."""
        with self._lock:
            self._binding.close()

    def _objection(self, frame: PoseFrame) -> str:
        """Why this frame must not move a robot; empty if it may."""
        if len(frame) != 1:
            return (
                f"{len(frame)} people are in view, expected exactly one"
                if len(frame)
                else "nobody is in view"
            )
        (person,) = frame.persons
        if person.state != "tracked":
            return "the person is out of sight"
        if person.score < self._min_score:
            return f"the person's score is below {self._min_score:g}"
        return ""

    def _pack(self, person: Person, world: Float64Array) -> bytes:
        quat, joints = pelvis_frame(person, world)
        fields: dict[str, AnyArray] = {
            "frame_index": np.array([self._sent], "<i8"),
            "body_quat": quat[None].astype("<f4"),
            "smpl_joints": joints[None].astype("<f4"),
            "smpl_pose": rotation_vectors(person.joint_quats_wxyz)[None].astype("<f4"),
        }
        if self._version == 3:
            fields["joint_pos"] = fields["joint_vel"] = np.zeros((1, _ROBOT_JOINTS), "<f4")
        return pack(fields, self._version)


def pack(fields: dict[str, AnyArray], version: int) -> bytes:
    """One message of little-endian arrays. Raises ``ValueError`` where their description is too long."""
    described = [
        {"name": name, "dtype": _TYPES[array.dtype.str[1:]], "shape": list(array.shape)}
        for name, array in fields.items()
    ]
    header = json.dumps(
        {"v": version, "endian": "le", "count": 1, "fields": described}, separators=(",", ":")
    )
    if len(header) > HEADER_BYTES:
        raise ValueError(f"header: expected at most {HEADER_BYTES} bytes, found {len(header)}")
    arrays = b"".join(array.tobytes() for array in fields.values())
    return TOPIC + header.encode("ascii").ljust(HEADER_BYTES, b"\0") + arrays


def pelvis_frame(person: Person, world: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Orientation (4,) of the pelvis (x forward, y left, z up) in ``world``, and the joints (24, 3) in it."""
    body = OutputFrame("ros")
    quat = multiply(from_matrix(world @ body.body.T), body.joint_quats(person.root_quat_wxyz))
    quat /= np.linalg.norm(quat)
    offsets = (person.joints_cam_m.astype(np.float64) - person.translation_m) @ world.T
    return quat, rotate(conjugates(quat), offsets)
