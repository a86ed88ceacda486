"""The wire format, schema version 1: one ZeroMQ part = topic, a zero byte, a msgpack map.

`docs/wire.md` describes every field for readers in other languages; ``tests/golden`` holds messages byte
for byte. Arrays travel as msgpack ``bin``: little-endian float32 in C order, of the shape the schema fixes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias, TypeVar

import msgpack
import numpy as np

from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.geometry.level import Ground
from kinestream.pose import Clock, Person, PoseFrame
from kinestream.stream.axes import AXES, ORIGINS, WIRE_AXES, OutputFrame

SCHEMA_VERSION: Final = 1
SKELETON: Final = "smpl-24"
KEYPOINTS: Final = "coco-17+feet-6"
MAX_MESSAGE_BYTES: Final = 1 << 24
MAX_PERSONS: Final = 256
MAX_ITEMS: Final = 1024
"""Of a list or map; a small message that claims huge or deeply nested ones must not cost memory."""
MAX_STATS_BYTES: Final = 1 << 16
MAX_STATS_DEPTH: Final = 4
MAX_FPS: Final = 100_000

POSE_TOPIC: Final = b"pose"
HEARTBEAT_TOPIC: Final = b"heartbeat"
STATS_TOPIC: Final = b"stats"

_ARRAYS: Final = {entry.name: entry for entry in fields(Person) if "shape" in entry.metadata}
_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    name: tuple(-1 if side == "V" else side for side in entry.metadata["shape"])
    for name, entry in _ARRAYS.items()
}
_REQUIRED: Final = frozenset(_SHAPES) - {"vertices_cam_m"}


class MessageError(ValueError):
    """A message that does not follow the schema; the message says where."""


@dataclass(frozen=True, kw_only=True)
class StreamIdentity:
    """What stays the same for a stream.

    Attributes:
        stream_id: random, new at every start of a publisher.
        clock_id: names the monotonic clock: equal ids mean comparable times (same computer, same boot).
        source: what is being tracked, for people to read.
    """

    stream_id: str
    clock_id: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class PoseMessage:
    """One frame as received.

    Attributes:
        identity: of the stream.
        sequence: counts pose messages of the stream from 0; gaps are messages this reader lost.
        t_publish_ns: when it was sent, on the publisher's monotonic clock.
        clock: what ``frame.t_capture_ns`` counts: that same clock, or the time within a file.
        lead_ns: the poses are predictions for this long after ``frame.t_capture_ns``.
        dropped, corrupt: frames of the source that were skipped or damaged so far.
        frame: the people.
        output: the frame of reference of their positions and rotations.
        fps: nominal rate of the poses, None where it is not known.
    """

    identity: StreamIdentity
    sequence: int
    t_publish_ns: int
    clock: Clock
    lead_ns: int
    dropped: int
    corrupt: int
    frame: PoseFrame
    output: OutputFrame = OutputFrame()
    fps: float | None = None


@dataclass(frozen=True, kw_only=True)
class HeartbeatMessage:
    """Sent every second, whoever is seen.

    Attributes:
        identity: of the stream.
        next_sequence: of the next pose message.
        t_publish_ns, t_unix_ns: the same moment on the monotonic clock and on the wall clock.
    """

    identity: StreamIdentity
    next_sequence: int
    t_publish_ns: int
    t_unix_ns: int


@dataclass(frozen=True, kw_only=True)
class StatsMessage:
    """How the tracker is doing; `values` as in docs/wire.md."""

    identity: StreamIdentity
    t_publish_ns: int
    values: dict[str, Any]


Message: TypeAlias = PoseMessage | HeartbeatMessage | StatsMessage


def encode(message: Message) -> bytes:
    """The message as one ZeroMQ part."""
    if isinstance(message, PoseMessage):
        return _packed(POSE_TOPIC, message, _pose_fields(message))
    if isinstance(message, HeartbeatMessage):
        body = {
            "next_sequence": message.next_sequence,
            "t_unix_ns": message.t_unix_ns,
            "joint_names": JOINT_NAMES,
            "keypoint_names": KEYPOINT_NAMES,
        }
        return _packed(HEARTBEAT_TOPIC, message, body)
    return _packed(STATS_TOPIC, message, {"values": message.values})


def decode(data: bytes) -> Message:
    """Read one ZeroMQ part. Raises ``MessageError`` for whatever does not follow the schema."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageError(f"message of {len(data)} bytes, at most {MAX_MESSAGE_BYTES} are accepted")
    topic, zero, packed = data.partition(b"\0")
    read = _READERS.get(topic)
    if not zero or read is None:
        raise MessageError(
            f"unknown topic {topic[:32]!r}; does Kinestream publish there in its native format?"
        )
    if topic != POSE_TOPIC and len(data) > MAX_STATS_BYTES:
        raise MessageError(f"{topic.decode()} of {len(data)} bytes, at most {MAX_STATS_BYTES} are accepted")
    try:
        content = msgpack.unpackb(packed, max_map_len=MAX_ITEMS, max_array_len=MAX_ITEMS, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:
        raise MessageError(f"not msgpack: {error}") from error
    if not isinstance(content, dict):
        raise MessageError(f"expected a map, found {type(content).__name__}")
    version = content.get("version")
    if version != SCHEMA_VERSION:
        raise MessageError(
            f"schema version {version!r}, this client reads {SCHEMA_VERSION}; update the older "
            "of the two programs"
        )
    try:
        with np.errstate(all="ignore"):  # absurd numbers are refused, quietly
            return read(content)
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError) as error:
        raise MessageError(f"{topic.decode()}: {error}") from error


def _packed(topic: bytes, message: Message, body: Mapping[str, Any]) -> bytes:
    header = {
        "version": SCHEMA_VERSION,
        "stream_id": message.identity.stream_id,
        "clock_id": message.identity.clock_id,
        "source": message.identity.source,
        "t_publish_ns": message.t_publish_ns,
    }
    packed: bytes = msgpack.packb({**header, **body})
    return topic + b"\0" + packed


def _pose_fields(message: PoseMessage) -> dict[str, Any]:
    frame = message.frame
    camera = frame.camera
    return {
        "sequence": message.sequence,
        "frame_index": frame.frame_index,
        "t_capture_ns": frame.t_capture_ns,
        "clock": message.clock,
        "lead_ns": message.lead_ns,
        "dropped": message.dropped,
        "corrupt": message.corrupt,
        "units": "m",
        **_output_fields(message.output),
        **_ground_fields(frame.ground),
        **({} if message.fps is None else {"fps": float(message.fps)}),
        "skeleton": SKELETON,
        "keypoints": KEYPOINTS,
        "camera": {
            "width_px": camera.width_px,
            "height_px": camera.height_px,
            "focal_px": camera.focal_px,
            "center_px": camera.center_px,
            "distortion": camera.distortion,
        },
        "persons": [_person_fields(person) for person in frame.persons],
    }


def _output_fields(output: OutputFrame) -> dict[str, Any]:
    """What differs from the camera frame; a plain message says no more than its axes."""
    row: dict[str, Any] = {"axes": output.wire_name}
    if output.tilt_rad:
        row["tilt_rad"] = float(output.tilt_rad)
    if output.roll_rad:
        row["roll_rad"] = float(output.roll_rad)
    if output.origin != "camera":
        row["origin"] = output.origin
    return row


def _ground_fields(ground: Ground | None) -> dict[str, Any]:
    """How sure gravity is, and the floor; its direction is that by which the frame was levelled."""
    if ground is None:
        return {}
    names = ("std_rad", "height_m", "height_std_m")
    return {"ground": {name: float(getattr(ground, name)) for name in names}}


def _person_fields(person: Person) -> dict[str, Any]:
    row: dict[str, Any] = {
        "track_id": int(person.track_id),
        "score": float(person.score),
        "state": person.state,
        "age_ns": int(person.age_ns),
    }
    for name in _SHAPES:
        array = getattr(person, name)
        if array is not None:
            row[name] = array.astype("<f4", copy=False).tobytes()
    return row


Value = TypeVar("Value")


def _get(content: Mapping[str, Any], key: str, kind: type[Value]) -> Value:
    """A required entry of this type; integers pass for floats, booleans for nothing but themselves."""
    value = content.get(key)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise MessageError(f"{key}: expected {kind.__name__}, found {type(value).__name__}")
    return value


def _identity(content: Mapping[str, Any]) -> StreamIdentity:
    return StreamIdentity(
        stream_id=_get(content, "stream_id", str),
        clock_id=_get(content, "clock_id", str),
        source=_get(content, "source", str),
    )


def _read_pose(content: Mapping[str, Any]) -> PoseMessage:
    for key, expected in (("units", "m"), ("skeleton", SKELETON), ("keypoints", KEYPOINTS)):
        if content.get(key) != expected:
            raise MessageError(f"{key}: expected {expected!r}, found {content.get(key)!r}")
    clock = _get(content, "clock", str)
    if clock not in ("media", "monotonic"):
        raise MessageError(f"clock: expected media or monotonic, found {clock!r}")
    persons = _get(content, "persons", list)
    if len(persons) > MAX_PERSONS:
        raise MessageError(f"persons: at most {MAX_PERSONS} are accepted, found {len(persons)}")
    camera = _get(content, "camera", dict)
    ground = _read_ground(content)
    frame = PoseFrame(
        frame_index=_get(content, "frame_index", int),
        t_capture_ns=_get(content, "t_capture_ns", int),
        camera=Camera(
            width_px=_get(camera, "width_px", int),
            height_px=_get(camera, "height_px", int),
            focal_px=_numbers(camera, "focal_px", 2),  # type: ignore[arg-type]
            center_px=_numbers(camera, "center_px", 2),  # type: ignore[arg-type]
            distortion=_numbers(camera, "distortion", None),
        ),
        persons=tuple(_read_person(person) for person in persons),
        ground=ground,
    )
    return PoseMessage(
        identity=_identity(content),
        sequence=_get(content, "sequence", int),
        t_publish_ns=_get(content, "t_publish_ns", int),
        clock="media" if clock == "media" else "monotonic",
        lead_ns=_get(content, "lead_ns", int),
        dropped=_get(content, "dropped", int),
        corrupt=_get(content, "corrupt", int),
        frame=frame,
        output=_read_output(content, ground),
        fps=_read_fps(content),
    )


def _read_fps(content: Mapping[str, Any]) -> float | None:
    fps = _get(content, "fps", float) if "fps" in content else None
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise MessageError(f"fps: expected more than 0 and at most {MAX_FPS}, found {fps}")
    return fps


def _read_ground(content: Mapping[str, Any]) -> Ground | None:
    if "ground" not in content:
        return None
    row = _get(content, "ground", dict)
    return Ground(
        tilt_rad=_angle(content, "tilt_rad"),
        roll_rad=_angle(content, "roll_rad"),
        std_rad=_get(row, "std_rad", float),
        height_m=_get(row, "height_m", float),
        height_std_m=_get(row, "height_std_m", float),
    )


def _angle(content: Mapping[str, Any], key: str) -> float:
    return _get(content, key, float) if key in content else 0.0


def _read_output(content: Mapping[str, Any], ground: Ground | None) -> OutputFrame:
    name, origin = content.get("axes"), content.get("origin", "camera")
    if name not in WIRE_AXES:
        raise MessageError(f"axes: expected one of {', '.join(WIRE_AXES)}, found {name!r}")
    if origin not in ORIGINS:
        raise MessageError(f"origin: expected one of {', '.join(ORIGINS)}, found {origin!r}")
    return OutputFrame(
        axes=AXES[WIRE_AXES.index(name)],
        tilt_rad=_angle(content, "tilt_rad"),
        origin=origin,
        roll_rad=_angle(content, "roll_rad"),
        height_m=ground.height_m if ground is not None and origin == "floor" else 0.0,
    )


def _numbers(content: Mapping[str, Any], key: str, count: int | None) -> tuple[float, ...]:
    values = _get(content, key, list)
    if (count is not None and len(values) != count) or not all(type(v) in (int, float) for v in values):
        raise MessageError(f"{key}: expected {count or 'some'} numbers, found {len(values)} entries")
    return tuple(float(value) for value in values)


def _read_person(content: object) -> Person:
    if not isinstance(content, dict):
        raise MessageError(f"persons: expected maps, found {type(content).__name__}")
    arrays: dict[str, Any] = {}
    for name, shape in _SHAPES.items():
        if name in _REQUIRED or name in content:
            arrays[name] = np.frombuffer(_get(content, name, bytes), "<f4").reshape(shape)
    return Person(
        track_id=_get(content, "track_id", int),
        score=_get(content, "score", float),
        state=_get(content, "state", str),  # type: ignore[arg-type]  # Person checks the value
        age_ns=_get(content, "age_ns", int),
        **arrays,
    )


def _read_heartbeat(content: Mapping[str, Any]) -> HeartbeatMessage:
    return HeartbeatMessage(
        identity=_identity(content),
        next_sequence=_get(content, "next_sequence", int),
        t_publish_ns=_get(content, "t_publish_ns", int),
        t_unix_ns=_get(content, "t_unix_ns", int),
    )


def _read_stats(content: Mapping[str, Any]) -> StatsMessage:
    values = _get(content, "values", dict)
    _check_values(values, depth=MAX_STATS_DEPTH)
    return StatsMessage(
        identity=_identity(content), t_publish_ns=_get(content, "t_publish_ns", int), values=values
    )


def _check_values(values: Mapping[Any, Any], depth: int) -> None:
    """Statistics are maps from text to numbers, text and a few levels of such maps."""
    for key, value in values.items():
        if type(key) is not str:
            raise MessageError(f"values: expected text as keys, found {type(key).__name__}")
        if type(value) is dict and depth > 1:
            _check_values(value, depth - 1)
        elif value is not None and type(value) not in (bool, int, float, str):
            raise MessageError(f"values: expected numbers, text and maps, found {type(value).__name__}")


_READERS: Final[dict[bytes, Callable[[Mapping[str, Any]], Message]]] = {
    POSE_TOPIC: _read_pose,
    HEARTBEAT_TOPIC: _read_heartbeat,
    STATS_TOPIC: _read_stats,
}
