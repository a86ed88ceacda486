"""The interchange type: one `PoseFrame` per video frame, one `Person` per body in it.

Filters, sinks, exports, metrics and the wire format consume and produce these two types only.
Arrays are float32, read-only copies; positions are metres in the camera frame (x right, y down,
z forward), quaternions are wxyz, pixels have integer centres.

>>> nobody = PoseFrame(frame_index=3, t_capture_ns=100_000_000, camera=Camera.from_fov(640, 480))
>>> len(nobody), [person.track_id for person in nobody]
(0, [])
>>> PoseFrame(frame_index=-1, t_capture_ns=0, camera=nobody.camera)
Traceback (most recent call last):
...
kinestream.pose.PoseError: PoseFrame.frame_index: expected at least 0, found -1
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from kinestream.body.skeleton import NUM_BETAS, NUM_FLOW_JOINTS, NUM_JOINTS, NUM_KEYPOINTS
from kinestream.geometry.camera import Camera
from kinestream.geometry.level import Ground
from kinestream.kernels.array_types import Float32Array

TrackState = Literal["tracked", "coasting"]
Clock = Literal["media", "monotonic"]
"""``monotonic``: `time.monotonic_ns` of this host. ``media``: presentation time within the file."""

UNIT_TOLERANCE = 1e-3
"""How far a quaternion's length may be from one."""


class PoseError(ValueError):
    """A field of a `Person` or `PoseFrame` has an impossible value; the message names the field."""


def _array(*shape: int | str) -> Any:
    """A dataclass field that holds an array of this shape; letters stand for any length."""
    return field(metadata={"shape": shape})


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Person:
    """One body in one frame.

    Attributes:
        track_id: stable while the person is followed; never reused within a stream.
        score: 0..1, how sure the tracker is that this is a person where it says.
        state: ``tracked`` when seen in this frame, ``coasting`` when predicted through a miss.
        age_ns: time since the track began.
        box_xyxy_px: (4,) left, top, right, bottom in the full image.
        root_quat_wxyz: (4,) rotation of the pelvis from body axes to the camera frame.
        translation_m: (3,) position of the pelvis in the camera frame.
        joint_quats_wxyz: (21, 4) local rotations of the joints after the root, without hands.
        betas: (10,) body shape in standard deviations.
        joints_cam_m: (24, 3) joints in the camera frame.
        joint_std_m: (24,) standard deviation of each joint, along its worst axis.
        keypoints_cam_m: (23, 3) surface keypoints in the camera frame.
        keypoints_px: (23, 3) x, y in the full image, and confidence 0..1.
        vertices_cam_m: (V, 3) mesh in the camera frame, where asked for.

    Raises ``PoseError`` naming the field, what was found and what is expected.
    """

    track_id: int
    score: float
    state: TrackState = "tracked"
    age_ns: int = 0
    box_xyxy_px: Float32Array = _array(4)
    root_quat_wxyz: Float32Array = _array(4)
    translation_m: Float32Array = _array(3)
    joint_quats_wxyz: Float32Array = _array(NUM_FLOW_JOINTS, 4)
    betas: Float32Array = _array(NUM_BETAS)
    joints_cam_m: Float32Array = _array(NUM_JOINTS, 3)
    joint_std_m: Float32Array = _array(NUM_JOINTS)
    keypoints_cam_m: Float32Array = _array(NUM_KEYPOINTS, 3)
    keypoints_px: Float32Array = _array(NUM_KEYPOINTS, 3)
    vertices_cam_m: Float32Array | None = field(default=None, metadata={"shape": ("V", 3)})

    def __post_init__(self) -> None:
        _check_integer("Person.track_id", self.track_id, minimum=0)
        _check_integer("Person.age_ns", self.age_ns, minimum=0)
        if self.state not in get_args(TrackState):
            raise PoseError(f"Person.state: expected one of {get_args(TrackState)}, found {self.state!r}")
        if not 0 <= self.score <= 1:
            raise PoseError(f"Person.score: expected a number from 0 to 1, found {self.score!r}")
        for entry in _ARRAY_FIELDS:
            value = getattr(self, entry.name)
            if value is not None or entry.default is dataclasses.MISSING:
                object.__setattr__(self, entry.name, _checked(entry.name, value, entry.metadata["shape"]))
        for name in ("root_quat_wxyz", "joint_quats_wxyz"):
            error = np.abs(np.square(getattr(self, name)).sum(-1) - 1).max() / 2
            if error > UNIT_TOLERANCE:
                raise PoseError(f"Person.{name}: expected unit quaternions, found length off by {error:.3g}")
        if (self.joint_std_m < 0).any():
            raise PoseError("Person.joint_std_m: expected no negative value")
        confidence = self.keypoints_px[:, 2]
        if (confidence < 0).any() or (confidence > 1).any():
            raise PoseError("Person.keypoints_px: expected confidences from 0 to 1 in the last column")

    def __eq__(self, other: object) -> bool:
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Scalars, and the shapes of the arrays."""
        return _repr(self)


_ARRAY_FIELDS = tuple(entry for entry in dataclasses.fields(Person) if "shape" in entry.metadata)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PoseFrame:
    """Everybody in one frame of one source.

    Attributes:
        frame_index: number of the frame in its source, counting dropped ones, from 0.
        t_capture_ns: capture time of the frame on the source's monotonic clock; for a file, its
            presentation time.
        camera: size and intrinsics of the full image.
        persons: the bodies, with distinct track ids; empty when nobody is seen.
        ground: gravity and floor, where they are estimated and somebody was seen.

    Raises ``PoseError`` naming the field, what was found and what is expected.
    """

    frame_index: int
    t_capture_ns: int
    camera: Camera
    persons: tuple[Person, ...] = ()
    ground: Ground | None = None

    def __post_init__(self) -> None:
        _check_integer("PoseFrame.frame_index", self.frame_index, minimum=0)
        _check_integer("PoseFrame.t_capture_ns", self.t_capture_ns)
        if not isinstance(self.camera, Camera):
            raise PoseError(f"PoseFrame.camera: expected a Camera, found {type(self.camera).__name__}")
        object.__setattr__(self, "persons", tuple(self.persons))
        for person in self.persons:
            if not isinstance(person, Person):
                raise PoseError(f"PoseFrame.persons: expected Person items, found {type(person).__name__}")
        ids = [person.track_id for person in self.persons]
        if len(set(ids)) != len(ids):
            raise PoseError(f"PoseFrame.persons: expected distinct track ids, found {ids}")

    def __len__(self) -> int:
        return len(self.persons)

    def __iter__(self) -> Iterator[Person]:
        return iter(self.persons)

    def __eq__(self, other: object) -> bool:
        return _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Header and persons, arrays by their shapes."""
        return _repr(self)


def _check_integer(name: str, value: object, *, minimum: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise PoseError(f"{name}: expected an integer, found {value!r}")
    if minimum is not None and value < minimum:
        raise PoseError(f"{name}: expected at least {minimum}, found {value}")


def _checked(name: str, value: Any, shape: tuple[int | str, ...]) -> Float32Array:
    expected = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    try:
        array = np.array(value, np.float32, order="C")
    except (TypeError, ValueError) as error:
        raise PoseError(f"Person.{name}: expected numbers of shape {expected}, found {value!r}") from error
    fits = len(array.shape) == len(shape) and all(
        isinstance(want, str) or have == want for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise PoseError(f"Person.{name}: expected shape {expected}, found {array.shape}")
    if not np.isfinite(array).all():
        raise PoseError(f"Person.{name}: expected finite numbers, found NaN or infinity")
    array.flags.writeable = False
    return array


def _equal(one: Person | PoseFrame, other: object) -> bool:
    if type(one) is not type(other):
        return False
    pairs = ((getattr(one, e.name), getattr(other, e.name)) for e in dataclasses.fields(one))
    return all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else a == b
        for a, b in pairs
    )


def _repr(value: Person | PoseFrame) -> str:
    def show(item: object) -> str:
        return f"float32{item.shape}" if isinstance(item, np.ndarray) else repr(item)

    parts = (f"{entry.name}={show(getattr(value, entry.name))}" for entry in dataclasses.fields(value))
    return f"{type(value).__name__}({', '.join(parts)})"
