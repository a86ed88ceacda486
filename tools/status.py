"""The line that shows how tracking goes: progress for files, rates for cameras. Goes to standard error."""

import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from kinestream.pipeline import Tracker

REFRESH_S = 0.25


class StatusLine:
    """Shows the tracker's state while it runs; nothing where the output is no terminal."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        self._tracker = tracker
        info = tracker.source.info if tracker.source else None
        self._count = info.frame_count if info and not info.live else None
        self._shown_s = 0.0
        self._live: Live | Progress | None = None
        if not console.is_terminal:
            return
        if self._count:
            columns = [
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            ]
            self._live = Progress(*columns, console=console, transient=True)
            self._task = self._live.add_task("", total=self._count)
        else:
            self._live = Live(console=console, transient=True, auto_refresh=False)

    def update(self, frame_index: int) -> None:
        """Refresh now and then."""
        now = time.monotonic()
        if self._live is None or now - self._shown_s < REFRESH_S:
            return
        self._shown_s = now
        line = summary(self._tracker.stats())
        if isinstance(self._live, Progress):
            self._live.update(self._task, completed=frame_index + 1, description=line)
        else:
            self._live.update(Text(line), refresh=True)

    def __enter__(self) -> "StatusLine":
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, *fault: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*fault)


def summary(stats: dict[str, Any]) -> str:
    """One line: rate, latency, people, losses."""
    latency = stats["latency_ms"]
    people = f"{stats['people']} {'person' if stats['people'] == 1 else 'people'}"
    losses = f"{stats['dropped']} dropped" + (f", {stats['corrupt']} corrupt" if stats["corrupt"] else "")
    return (
        f"{stats['fps_out']:5.1f} fps  {latency['p50']:.0f} ms (p95 {latency['p95']:.0f})  {people}  {losses}"
    )
