"""Workers that are actors of a Ray cluster. Needs the extra ``ray``.

All computers of the cluster must see the videos and the results under the same paths, and have Kinestream
installed. Without an address a cluster of this computer alone is started, and stopped at the end.
"""

from pathlib import Path
from typing import Any

from kinestream.tools.batch.events import Died, Event, Progress
from kinestream.tools.batch.videos import Settings, Video
from kinestream.tools.batch.work import process
from kinestream.tools.batch.workers import Workers
from kinestream.tools.extras import optional_module
from kinestream.tools.process import cores, use_threads

LOCAL = "local"


class RayWorkers(Workers):
    """``count`` actors with a processor each."""

    def __init__(self, count: int | None, settings: Settings, results: Path, *, address: str = LOCAL) -> None:
        """Connect to the cluster; without a count it is used whole.

        Raises ``MissingExtraError`` without the extra and ``ConnectionError`` where no cluster answers.
        """
        self._ray = ray = optional_module("ray", extra="ray", purpose="--ray")
        self._settings, self._results = settings, results.resolve()
        here: dict[str, Any] = {}
        if address == LOCAL:
            here = {"include_dashboard": False, "num_cpus": max(cores(), count or 1)}
        ray.init(address=address, log_to_driver=False, **here)
        count = count or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._actor_class = ray.remote(_Actor)
        self._idle: list[Any] = [None] * count
        self._busy: dict[Any, tuple[str, Any]] = {}  # generator of events: video and actor

    @property
    def free(self) -> int:
        """Actors without a video."""
        return len(self._idle)

    def submit(self, video: Video) -> None:
        """Give a video to a free actor."""
        actor = self._idle.pop()
        if actor is None:
            actor = self._actor_class.options(num_cpus=1, max_restarts=0).remote()
        absolute = Video(video.name, video.path.resolve(), video.size_bytes, video.changed_ns)
        events = actor.work.options(num_returns="streaming").remote(absolute, self._settings, self._results)
        self._busy[events] = video.name, actor

    def wait(self, timeout_s: float) -> list[Event]:
        """What happened since the last call."""
        if not self._busy:
            return []
        ready, _ = self._ray.wait(
            list(self._busy), num_returns=len(self._busy), timeout=timeout_s, fetch_local=False
        )
        return [self._next_event(events) for events in ready]

    def close(self) -> None:
        """Stop all actors, and the cluster where it was started here."""
        self._busy, self._idle = {}, []
        self._ray.shutdown()

    def _next_event(self, events: Any) -> Event:
        name, actor = self._busy[events]
        event: Event
        try:
            event = self._ray.get(next(events))
        except (StopIteration, self._ray.exceptions.RayError) as error:
            self._ray.kill(actor)
            actor = None
            reason = (str(error).strip() or "no result").splitlines()[0]
            event = Died(name, f"its worker died: {reason}")
        if not isinstance(event, Progress):
            del self._busy[events]
            self._idle.append(actor)
        return event


class _Actor:
    def __init__(self) -> None:
        use_threads(1)

    def work(self, video: Video, settings: Settings, results: Path) -> Any:
        yield from process(video, settings, results)
