"""The hand-over of frames from the decoder thread to the reader, bounded in every case."""

import dataclasses
import threading
import time
from collections import deque
from typing import Literal

from kinestream.capture.frame import Frame

Policy = Literal["latest", "every", "paced"]
"""``latest``: the newest frame, older ones are dropped and counted. ``every``: all frames, the decoder
waits for the reader. ``paced``: a file is played at its own speed as if it were live, then as ``latest``.
"""

QUEUE_LENGTH = 4
"""Frames that may wait under ``every``."""


class FrameQueue:
    """A short queue with one writer and one reader.

    Attributes:
        dropped: frames that nobody read.
    """

    def __init__(self, *, overwrite: bool) -> None:
        """Let the newest frame replace the waiting one (``overwrite``), or let the writer wait."""
        self._overwrite = overwrite
        self._frames: deque[Frame] = deque()
        self._newest: Frame | None = None
        self._ended = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, frame: Frame) -> None:
        """Hand over a frame; waits for room unless frames may be overwritten."""
        with self._changed:
            if self._overwrite:
                self.dropped += len(self._frames)
                self._frames.clear()
            else:
                self._changed.wait_for(lambda: self._ended or len(self._frames) < QUEUE_LENGTH)
            if self._ended:
                self.dropped += 1
                return
            self._frames.append(frame)
            self._newest = frame
            self._changed.notify_all()

    def restart(self) -> int:
        """Number the waiting frames from 0 and forget what was dropped; returns how many wait."""
        with self._changed:
            self._frames = deque(dataclasses.replace(f, index=i) for i, f in enumerate(self._frames))
            self._newest = self._frames[-1] if self._frames else self._newest
            self.dropped = 0
            return len(self._frames)

    def end(self, error: Exception | None = None) -> None:
        """No frame follows; ``error`` reaches the reader after the waiting frames."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Frame | None:
        """The next frame, or None at the end. Raises ``TimeoutError``, or the error given to `end`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._frames or self._ended, timeout_s):
                raise TimeoutError
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def newest(self, timeout_s: float, *, max_age_s: float) -> Frame | None:
        """The newest frame, left where it is, once one is younger than ``max_age_s``.

        None where there has been no such frame within ``timeout_s``. Raises the error given to `end`.
        """

        def fresh() -> bool:
            frame = self._newest
            return frame is not None and time.monotonic_ns() - frame.t_ready_ns <= max_age_s * 1e9

        with self._changed:
            self._changed.wait_for(lambda: fresh() or self._ended, timeout_s)
            if fresh():
                return self._newest
            if self._error is not None:
                raise self._error
            return None

    def discard(self) -> None:
        """Count what waits as dropped and forget it."""
        with self._changed:
            self.dropped += len(self._frames)
            self._frames.clear()
            self._changed.notify_all()
