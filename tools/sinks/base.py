"""What every sink implements, and how a faulty one is left behind without stopping the others."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from kinestream.capture import Frame
from kinestream.pose import PoseFrame

log = logging.getLogger(__name__)


class SinkError(OSError):
    """A file cannot be written; the message names it and says what is left of it."""


class Sink(AbstractContextManager["Sink"]):
    """Takes frames in order, each with its picture. A context manager; `close` completes the file."""

    name: str

    @abstractmethod
    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Add one frame. Raises ``OSError`` where the file cannot take it."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file; may be called twice. Raises ``OSError``."""

    def __exit__(self, *_: object) -> None:
        self.close()


class SinkGroup(Sink):
    """Several sinks as one. One that fails is reported once and left out; the others go on.

    Attributes:
        failures: messages of the sinks that failed.
    """

    name = "sinks"

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks = list(sinks)
        self.failures: list[str] = []

    def add(self, sink: Sink) -> None:
        """One more, closed with the others."""
        self._sinks.append(sink)

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Add one frame to each. Raises ``BrokenPipeError`` where the reader of a pipe is gone."""
        for sink in list(self._sinks):
            try:
                sink.write(frame, poses)
            except BrokenPipeError:
                raise  # nobody reads our standard output any more: an end, not a fault
            except OSError as error:
                self._sinks.remove(sink)
                self._failed(sink, error)
                self._close(sink)

    def close(self) -> None:
        """Complete every file."""
        while self._sinks:
            self._close(self._sinks.pop())

    def _close(self, sink: Sink) -> None:
        try:
            sink.close()
        except OSError as error:
            self._failed(sink, error)

    def _failed(self, sink: Sink, error: OSError) -> None:
        reason = error.strerror or str(error)
        message = f"{sink.name}: {reason}" if sink.name not in reason else reason
        if not any(known.startswith(sink.name) for known in self.failures):
            self.failures.append(message)
            log.error("%s; tracking goes on without it, what was written until now is kept", message)
