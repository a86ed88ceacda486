"""A recording on the page, played round and round, with controls for time, pace and pause."""

import threading
import time
from pathlib import Path
from typing import Final

from kinestream.body.arrays import read_body
from kinestream.tools.recordings import RecordedFrame, recorded_frames, span_ns
from kinestream.tools.web.page import Control, Page, Update

HELD_S: Final = 0.1
"""A frame that is held is shown again so often, which lets a new body settle."""
SLIDER_S: Final = 0.25


class Player:
    """Plays one recording.

    Attributes:
        page: where it is shown; closed by its owner.
    """

    def __init__(self, recording: Path, address: str) -> None:
        """Open both; address as for `Page`. Raises as that, and ``ValueError`` for a file without poses."""
        self._recording = recording
        self._first_ns, last_ns = span_ns(recording)
        self._playing, self._speed = True, 1.0
        self._wanted_s: float | None = None
        self._changed = threading.Event()
        self._told_s = 0.0
        length_s = max(0.01, (last_ns - self._first_ns) / 1e9)
        controls = (
            Control("playing", "Play", True),
            Control("speed", "Speed", 1.0, 0.1, 4.0, 0.1),
            Control("time_s", "Time (s)", 0.0, 0.0, length_s, 0.01),
        )
        self.page = Page(address, read_body(), controls=controls, on_change=self._set)

    def play(self, *, rounds: int | None = None) -> None:
        """Play for ever, or so many times. Raises ``OSError`` where the file cannot be read any more."""
        start_s = 0.0
        while rounds is None or rounds > 0:
            wanted_s = self._play_from(start_s)
            start_s = 0.0 if wanted_s is None else wanted_s
            if wanted_s is None and rounds is not None:
                rounds -= 1

    def _play_from(self, start_s: float) -> float | None:
        """Play to the end, or until somebody wants another time, which is returned."""
        last_s = start_s
        for frame in recorded_frames(self._recording, from_ns=self._first_ns + round(start_s * 1e9)):
            at_s = (frame.t_ns - self._first_ns) / 1e9
            self._pause((at_s - last_s) / self._speed)
            last_s = at_s
            self._show(frame, at_s)
            while not self._playing and self._wanted_s is None:
                self._pause(HELD_S)
                self._show(frame, at_s)
            if self._wanted_s is not None:
                wanted_s, self._wanted_s = self._wanted_s, None
                return wanted_s
        return None

    def _pause(self, seconds: float) -> None:
        """Wait, unless somebody sets something."""
        self._changed.wait(max(0.0, seconds))
        self._changed.clear()

    def _show(self, frame: RecordedFrame, at_s: float) -> None:
        poses = frame.poses
        status = {"Frame": str(poses.frame_index), "People": str(len(poses)), "Time": f"{at_s:.2f} s"}
        self.page.show(Update(poses, frame.jpeg, status))
        now_s = time.monotonic()
        if self._playing and now_s - self._told_s > SLIDER_S:
            self._told_s = now_s
            self.page.set("time_s", at_s)

    def _set(self, name: str, value: float) -> None:
        if name == "playing":
            self._playing = bool(value)
        elif name == "speed":
            self._speed = value
        else:
            self._wanted_s = value
        self._changed.set()
