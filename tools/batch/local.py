"""Workers that are processes of this computer."""

import multiprocessing
import signal
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from kinestream.tools.batch.events import Died, Event, Progress
from kinestream.tools.batch.videos import Settings, Video
from kinestream.tools.batch.work import process
from kinestream.tools.batch.workers import Workers
from kinestream.tools.process import cores, use_threads

JOIN_S = 5.0


class LocalWorkers(Workers):
    """``count`` processes. Each starts when it first gets a video."""

    def __init__(self, count: int, settings: Settings, results: Path) -> None:
        self._settings, self._results = settings, results
        self._threads = max(1, cores() // count)
        self._idle: list[_Worker | None] = [None] * count
        self._busy: list[_Worker] = []

    @property
    def free(self) -> int:
        """Workers without a video."""
        return len(self._idle)

    def submit(self, video: Video) -> None:
        """Give a video to a free worker."""
        worker = self._idle.pop()
        if worker is None or not worker.process.is_alive():
            worker = _Worker(self._settings, self._results, self._threads)
        self._busy.append(worker)
        worker.take(video)

    def wait(self, timeout_s: float) -> list[Event]:
        """What happened since the last call."""
        ready = set(wait([worker.pipe for worker in self._busy], timeout_s))
        events: list[Event] = []
        for worker in [worker for worker in self._busy if worker.pipe in ready]:
            event = worker.next_event()
            events.append(event)
            if not isinstance(event, Progress):
                self._busy.remove(worker)
                worker.video = None
                self._idle.append(None if isinstance(event, Died) else worker)
        return events

    def close(self) -> None:
        """Stop all workers at once."""
        everybody = [*self._busy, *(worker for worker in self._idle if worker is not None)]
        self._busy, self._idle = [], []
        for worker in everybody:
            worker.process.terminate()
        for worker in everybody:
            worker.end()


class _Worker:
    """One process with the pipe to it."""

    def __init__(self, settings: Settings, results: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # OpenCV's threads do not survive a fork
        self.pipe, theirs = context.Pipe()
        self.video: str | None = None
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, settings, results, threads), name="kinestream worker", daemon=True
        )
        self.process.start()
        theirs.close()

    def take(self, video: Video) -> None:
        self.video = video.name
        try:
            self.pipe.send(video)
        except BrokenPipeError:
            pass  # it just died; the pipe's end says so, and `next_event` reports it

    def next_event(self) -> Event:
        try:
            event: Event = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.end()
            return Died(self.video or "", f"its worker ended with {_said(self.process.exitcode)}")
        return event

    def end(self) -> None:
        self.process.join(JOIN_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _said(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"exit code {exit_code}"


def _serve(pipe: Connection, settings: Settings, results: Path, threads: int) -> None:
    """Body of the process; ends when the coordinator is gone."""
    for name in ("SIGINT", "SIGHUP"):  # they reach the whole group; the coordinator decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    use_threads(threads)
    try:
        while True:
            video: Video = pipe.recv()
            for event in process(video, settings, results):
                pipe.send(event)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
