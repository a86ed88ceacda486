"""Hands videos to workers until none is left, and keeps the manifest."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kinestream.tools.batch.events import Broken, Died, Event, Finished, Halted, Progress, Unavailable
from kinestream.tools.batch.results import ResultFolder
from kinestream.tools.batch.videos import Settings, Video
from kinestream.tools.batch.workers import Workers

ATTEMPTS = 3
"""A video during which so many workers died is given up."""
WAIT_S = 0.5
MANIFEST_S = 1.0

State = Literal["waiting", "working", "done", "broken"]


@dataclass
class Entry:
    """Where one video stands."""

    video: Video
    state: State = "waiting"
    reason: str = ""  # why it is broken, or was not done
    deaths: int = 0  # workers that died on it
    summary: dict[str, Any] = field(default_factory=dict)  # what its ``result.json`` says
    earlier: bool = False  # settled by an earlier run

    def row(self) -> dict[str, Any]:
        """Its line in the manifest."""
        row: dict[str, Any] = {
            "video": self.video.name,
            "state": self.state if self.state in ("done", "broken") else "waiting",
            "source": str(self.video.path),
            "fingerprint": list(self.video.fingerprint),
            "deaths": self.deaths,
        }
        if self.reason:
            row["reason"] = self.reason
        counts = ("frames", "frames_with_people", "tracks", "corrupt", "seconds")
        return row | {key: self.summary[key] for key in counts if key in self.summary}


class Batch:
    """The books of one batch.

    Attributes:
        entries: every video by name.
        halted: why no video can be done here at present; empty while all is well.
    """

    def __init__(
        self, videos: Sequence[Video], settings: Settings, folder: ResultFolder, *, retry_broken: bool = False
    ) -> None:
        """Find out what is left to do. Whoever calls holds the folder's lock; leftovers are removed."""
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.clean()
        self._settings, self._folder = settings, folder
        broken = {} if retry_broken else folder.known_broken()
        self.entries = {video.name: self._looked_up(video, broken) for video in videos}
        self._queue = deque(entry.video for entry in self.entries.values() if entry.state == "waiting")
        self._written_s = 0.0
        self.halted = ""

    @property
    def left(self) -> int:
        """Videos that wait for a worker."""
        return len(self._queue)

    def run(self, workers: Workers, tell: Callable[[Event], None] = lambda event: None) -> None:
        """Do everything that is left; ``tell`` hears every event. Raises ``OSError`` for the manifest.

        Where this computer is at fault, as by a full disk, no further video is begun.
        """
        working = 0
        try:
            while (self._queue and not self.halted) or working:
                while self._queue and workers.free and not self.halted:
                    video = self._queue.popleft()
                    self.entries[video.name].state = "working"
                    workers.submit(video)
                    working += 1
                for event in workers.wait(WAIT_S):
                    working -= not isinstance(event, Progress)
                    self._take(event)
                    tell(event)
                if time.monotonic() - self._written_s > MANIFEST_S:
                    self.write_manifest()
            self._folder.clean()
        finally:
            self.write_manifest()

    def write_manifest(self) -> None:
        """Write down where everything stands."""
        self._folder.write_manifest(self._settings, (entry.row() for entry in self.entries.values()))
        self._written_s = time.monotonic()

    def _looked_up(self, video: Video, broken: dict[str, tuple[tuple[int, int], str]]) -> Entry:
        if self._folder.is_done(video, self._settings):
            return Entry(video, "done", summary=self._folder.summary(video) or {}, earlier=True)
        fingerprint, reason = broken.get(video.name, (None, ""))
        if fingerprint == video.fingerprint:
            return Entry(video, "broken", reason=reason, earlier=True)
        return Entry(video)

    def _take(self, event: Event) -> None:
        entry = self.entries[event.video]
        match event:
            case Finished(summary=summary):
                entry.state, entry.summary = "done", summary
            case Broken(reason=reason):
                entry.state, entry.reason = "broken", reason
            case Unavailable(reason=reason):
                entry.state, entry.reason = "waiting", reason
            case Halted(reason=reason):
                entry.state, self.halted = "waiting", self.halted or reason
            case Died(reason=reason):
                entry.deaths += 1
                if entry.deaths < ATTEMPTS:
                    entry.state = "waiting"
                    self._queue.append(entry.video)
                else:
                    entry.state = "broken"
                    entry.reason = f"{reason}; given up after {ATTEMPTS} attempts"
