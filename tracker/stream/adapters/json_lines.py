"""Messages as JSON, one object a line: names and meaning as in docs/wire.md, arrays as nested lists."""

import dataclasses
import json
import time
from typing import Any, TextIO

import numpy as np

from kinestream.pose import Clock, Person, PoseFrame
from kinestream.stream.axes import OutputFrame
from kinestream.stream.base_publisher import BasePublisher
from kinestream.stream.message import PoseMessage
from kinestream.stream.publisher import new_identity

DIGITS = 5


class JsonLinesPublisher(BasePublisher):
    """Writes each frame, and now and then the statistics, to an open text file such as standard output."""

    def __init__(
        self, file: TextIO, *, source: str = "", output: OutputFrame | None = None, vertices: bool = False
    ) -> None:
        """Write to ``file``, which stays the caller's to close; other options as for `Publisher`."""
        super().__init__(new_identity(source), getattr(file, "name", "a file"), output, vertices=vertices)
        self._file = file

    def publish(
        self, frame: PoseFrame, *, clock: Clock, lead_ns: int = 0, dropped: int = 0, corrupt: int = 0
    ) -> PoseMessage:
        """Write a line; see `BasePublisher.publish`. Raises ``OSError``."""
        message = self._next_message(frame, clock, lead_ns, dropped, corrupt)
        self._write("pose", message.t_publish_ns, _pose_fields(message))
        return message

    def publish_stats(self, values: dict[str, Any]) -> None:
        """Write a line. Raises ``OSError``."""
        self._write("stats", time.monotonic_ns(), {"values": values})

    def close(self) -> None:
        """Nothing is left to do."""

    def _write(self, topic: str, t_publish_ns: int, fields: dict[str, Any]) -> None:
        row = {"topic": topic, **dataclasses.asdict(self.identity), "t_publish_ns": t_publish_ns, **fields}
        try:
            self._file.write(json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n")
            self._file.flush()
        except BrokenPipeError:
            raise  # whoever read it has had enough
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror or error}", self.endpoint) from error


def _pose_fields(message: PoseMessage) -> dict[str, Any]:
    frame, output = message.frame, message.output
    return {
        "sequence": message.sequence,
        "frame_index": int(frame.frame_index),
        "t_capture_ns": int(frame.t_capture_ns),
        "clock": message.clock,
        "lead_ns": message.lead_ns,
        "dropped": message.dropped,
        "corrupt": message.corrupt,
        "axes": output.wire_name,
        "tilt_rad": output.tilt_rad,
        **({"roll_rad": output.roll_rad} if output.roll_rad else {}),
        "origin": output.origin,
        **({} if message.fps is None else {"fps": message.fps}),
        **({} if frame.ground is None else {"ground": dataclasses.asdict(frame.ground)}),
        "camera": dataclasses.asdict(frame.camera),
        "persons": [_person_fields(person) for person in frame],
    }


def _person_fields(person: Person) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for entry in dataclasses.fields(person):
        value = getattr(person, entry.name)
        if isinstance(value, np.ndarray):
            row[entry.name] = np.round(value.astype(np.float64), DIGITS).tolist()
        elif value is not None:
            row[entry.name] = value.item() if isinstance(value, np.generic) else value
    return row
