"""What the tracker publishes to, whatever the format."""

import dataclasses
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any

from kinestream.pose import Clock, PoseFrame
from kinestream.stream.axes import OutputFrame
from kinestream.stream.message import PoseMessage, StreamIdentity


class BasePublisher(ABC):
    """Takes frames and sends them, without ever waiting for a reader. A context manager.

    Attributes:
        identity: of the stream.
        endpoint: where it goes, for people to read.
        sequence: of the next frame.
        output: the frame of reference in which poses leave; the estimate of a frame's ground levels it.
        vertices: whether the mesh leaves with them, where a frame has one.
        fps: nominal rate of the poses, told in each message; None where it is not known.
    """

    def __init__(
        self,
        identity: StreamIdentity,
        endpoint: str,
        output: OutputFrame | None = None,
        *,
        vertices: bool = False,
    ) -> None:
        self.identity = identity
        self.endpoint = endpoint
        self.sequence = 0
        self.output = output or OutputFrame()
        self.vertices = vertices
        self.fps: float | None = None

    @property
    def bound(self) -> bool:
        """Whether readers can be reached."""
        return True

    @property
    def places(self) -> str:
        """Everywhere it goes, for people to read."""
        return self.endpoint

    @abstractmethod
    def publish(
        self, frame: PoseFrame, *, clock: Clock, lead_ns: int = 0, dropped: int = 0, corrupt: int = 0
    ) -> PoseMessage:
        """Send a frame; returns the message that it makes, in the frame of reference of `output`.

        Args:
            frame: the people, in the camera frame.
            clock: what ``frame.t_capture_ns`` counts.
            lead_ns: how far ahead of that the poses are predicted.
            dropped: frames of the source that were skipped so far.
            corrupt: those that were damaged.
        """

    @abstractmethod
    def publish_stats(self, values: dict[str, Any]) -> None:
        """Send how the tracker is doing, where the format has room for it."""

    @abstractmethod
    def close(self) -> None:
        """Stop sending."""

    def __enter__(self) -> "BasePublisher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next_message(
        self, frame: PoseFrame, clock: Clock, lead_ns: int, dropped: int, corrupt: int
    ) -> PoseMessage:
        output = self.output.on(frame.ground)
        message = PoseMessage(
            identity=self.identity,
            sequence=self.sequence,
            t_publish_ns=time.monotonic_ns(),
            clock=clock,
            lead_ns=lead_ns,
            dropped=dropped,
            corrupt=corrupt,
            fps=self.fps,
            frame=output.apply(frame if self.vertices else _without_mesh(frame)),
            output=output,
        )
        self.sequence += 1
        return message


def _without_mesh(frame: PoseFrame) -> PoseFrame:
    if all(person.vertices_cam_m is None for person in frame):
        return frame
    persons = tuple(dataclasses.replace(person, vertices_cam_m=None) for person in frame)
    return dataclasses.replace(frame, persons=persons)
