"""What every sink implements, and how a faulty one is left behind without stopping the others."""

import errno
import logging
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from kinestream.capture import Frame
from kinestream.pose import PoseFrame

log = logging.getLogger(__name__)


class SinkError(OSError):
    """A file cannot be written; the message names it and says what is left of it."""


@contextmanager
def naming(name: str | Path) -> Iterator[None]:
    """Let faults of writing name their file: raises ``SinkError`` for an ``OSError`` that does not.

    ``BrokenPipeError`` passes: nobody reads our standard output any more, which is an end and no fault.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if str(name) in str(error):
            raise
        raise SinkError(f"{name}: {error.strerror or error}") from error


def complete(file: IO[Any]) -> None:
    """Hand a file to the disk and close it; some tell only then that they are full. Raises ``OSError``."""
    try:
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # pipes and devices have nothing to wait for
            raise
    finally:
        file.close()


class WholeFile:
    """A file for libraries that write to an object: nothing is held back, and no fault goes unnoticed.

    Attributes:
        error: the first fault, for libraries that keep it to themselves.
    """

    def __init__(self, path: str | Path) -> None:
        """Create the file. Raises ``OSError``."""
        self.name = str(path)
        self.error: OSError | None = None
        self._file = open(path, "wb", buffering=0)

    def write(self, data: Any) -> int:
        """Write all of it. Raises ``OSError``."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left):
                left = left[self._file.write(left) or 0 :]
        except OSError as error:
            self.error = self.error or error
            raise
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def close(self) -> None:
        """Complete it. Raises the first fault there was."""
        complete(self._file)
        if self.error is not None:
            raise self.error


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
