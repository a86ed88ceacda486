"""One tracked clip in a process of its own, for `kinestream.tools.bench.speed.pipeline`; prints JSON lines.

    python -m kinestream.tools.bench.speed.run CLIP [--policy every|paced] [--engine auto]
        [--model medium] [--max-people 8] [--idle-s 5]

First line: the address it publishes on. Last line: what the run cost. The processor time is that of the whole
process, all threads, from decoding to the socket, behind the first frames.
"""

import json
import logging
import os
import sys
import threading
import time
from typing import Annotated, Any, Final

import typer

from kinestream.defaults import DEFAULT_ENGINE, DEFAULT_MAX_PEOPLE, DEFAULT_MODEL
from kinestream.tools import options
from kinestream.tools.bench.memory import peak_mb

WARM_UP_FRAMES: Final = 30


def main(
    clip: options.Clip,
    policy: options.Policy = "every",
    engine: options.Engine = DEFAULT_ENGINE,
    model: options.Model = DEFAULT_MODEL,
    started_ns: Annotated[int | None, typer.Option(help="Start of the process, monotonic clock.")] = None,
    max_people: options.MaxPeople = DEFAULT_MAX_PEOPLE,
    idle_s: Annotated[float, typer.Option(help="Let the source fall silent in the middle.")] = 0.0,
) -> None:
    """Track, measure, report."""
    from kinestream.tools.process import (
        freeze_loaded_objects,
        keep_freed_memory,
        start_quickly,
        use_threads,
    )

    start_quickly()
    from kinestream.capture import FrameSource
    from kinestream.capture.av_source import AvDecoder
    from kinestream.engines.cpu import threads
    from kinestream.pipeline import Tracker
    from kinestream.stream import Publisher

    use_threads()
    keep_freed_memory()
    progress = _Messages()
    logging.getLogger("kinestream.progress").addHandler(progress)
    logging.getLogger("kinestream.progress").setLevel(logging.INFO)
    decoder: Any = AvDecoder(clip, live=False)
    if idle_s:
        decoder.next_picture = _Pause(decoder, idle_s)
    with (
        Publisher("tcp://127.0.0.1:0", source=clip.name) as publisher,
        FrameSource(decoder, policy=policy) as source,
        Tracker(
            source, publisher=publisher, engine=engine, regressor=model, max_people=max_people
        ) as tracker,
    ):
        _tell({"endpoint": publisher.endpoint})
        freeze_loaded_objects()
        run = _Run(started_ns)
        for frame, poses in tracker.frames():
            # A file that is not paced has no moment of capture on our clock.
            run.add(len(poses), time.monotonic_ns() - frame.t_capture_ns if policy == "paced" else 0)
        report = run.report()
        stats = tracker.stats()
    pause = decoder.next_picture if idle_s else None
    kept = {name: stats[name] for name in ("dropped", "corrupt", "engine", "filter", "stage_ms")}
    report |= {"published": publisher.sequence, "threads": threads(), **kept}
    report |= {"process_ms": stats["latency_ms"], "idle_cpu_percent": pause and pause.cpu_percent}
    report |= {"progress": progress.told}
    _tell(report)


class _Messages(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.told.append(record.getMessage())


class _Run:
    """Times and counts of one run."""

    def __init__(self, started_ns: int | None) -> None:
        self._started_ns = started_ns
        self._frames = self._people = 0
        self._first_pose_s: float | None = None
        self._ages_ns: list[int] = []
        self._start = (0, 0, 0)

    def add(self, people: int, age_ns: int) -> None:
        """Note a frame that was published just now."""
        self._frames += 1
        self._people += people
        if people and self._first_pose_s is None and self._started_ns is not None:
            self._first_pose_s = (time.monotonic_ns() - self._started_ns) / 1e9
        if self._frames == WARM_UP_FRAMES:
            self._start = _clocks()
        if self._frames > WARM_UP_FRAMES:
            self._ages_ns.append(age_ns)

    def report(self) -> dict[str, Any]:
        """What it cost per frame."""
        import numpy as np

        frames = len(self._ages_ns)
        if not frames:
            sys.exit(f"found {self._frames} frames, expected more than {WARM_UP_FRAMES}")
        wall, cpu, own = (
            (end - start) / 1e6 / frames for start, end in zip(self._start, _clocks(), strict=True)
        )
        ages = np.array(self._ages_ns) / 1e6
        ages_ms = {f"p{share}": round(float(np.percentile(ages, share)), 3) for share in (50, 95, 99)}
        return {
            "frames": self._frames,
            "people_per_frame": round(self._people / self._frames, 3),
            "fps": round(1000 / wall, 2),
            "cpu_ms_per_frame": round(cpu, 3),
            "tracking_thread_cpu_ms": round(own, 3),
            "other_threads_cpu_ms": round(cpu - own, 3),
            "capture_to_publish_ms": ages_ms if any(ages_ms.values()) else {},
            "first_pose_s": self._first_pose_s and round(self._first_pose_s, 3),
            "max_rss_mb": round(peak_mb(), 1),
        }


class _Pause:
    """Stands in for a source's `next_picture`: silent for a while behind the first frames."""

    def __init__(self, decoder: Any, idle_s: float) -> None:
        self._next, self._idle_s = decoder.next_picture, idle_s
        self._frames = 0
        self.cpu_percent: float | None = None

    def __call__(self) -> Any:
        """The next picture of the real source."""
        self._frames += 1
        if self._frames == 2 * WARM_UP_FRAMES:
            time.sleep(1.0)  # until all that waits is tracked
            before = time.process_time()
            threading.Event().wait(self._idle_s)
            self.cpu_percent = round(100 * (time.process_time() - before) / self._idle_s, 3)
        return self._next()


def _clocks() -> tuple[int, int, int]:
    """Wall clock, processor time of the process, and that of this thread, in ns."""
    return time.monotonic_ns(), time.process_time_ns(), time.thread_time_ns()


def _tell(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does, before NumPy is imported
    typer.run(main)
