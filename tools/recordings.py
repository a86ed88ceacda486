"""A recording as frames: poses, each with the picture that was recorded beside it."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinestream.pose import PoseFrame
from kinestream.stream import PoseMessage, decode, read_messages
from kinestream.stream.recorder import IMAGE_TOPIC


@dataclass(frozen=True)
class RecordedFrame:
    """One frame.

    Attributes:
        t_ns: when it was recorded.
        poses: the people.
        jpeg: the picture, None where none was recorded.
    """

    t_ns: int
    poses: PoseFrame
    jpeg: bytes | None


def recorded_frames(recording: Path, *, from_ns: int = 0) -> Iterator[RecordedFrame]:
    """The frames from this time on. Raises as `kinestream.stream.read_messages`."""
    waiting: tuple[int, PoseFrame] | None = None
    for recorded in read_messages(recording, ("pose", IMAGE_TOPIC)):
        if recorded.topic == IMAGE_TOPIC:
            if waiting is not None:
                yield RecordedFrame(*waiting, base64.b64decode(json.loads(recorded.data)["data"]))
            waiting = None
            continue
        if waiting is not None:
            yield RecordedFrame(*waiting, None)
            waiting = None
        if recorded.t_log_ns >= from_ns:
            message = decode(recorded.data)
            waiting = (recorded.t_log_ns, message.frame) if isinstance(message, PoseMessage) else None
    if waiting is not None:
        yield RecordedFrame(*waiting, None)


def span_ns(recording: Path) -> tuple[int, int]:
    """When the first and the last pose were recorded. Raises ``ValueError`` where there is none."""
    times_ns = [recorded.t_log_ns for recorded in read_messages(recording, ("pose",))]
    if not times_ns:
        raise ValueError(f"{recording}: holds no poses")
    return times_ns[0], times_ns[-1]
