"""``kinestream listen``: what arrives on a stream, and how well.

kinestream listen
kinestream listen tcp://127.0.0.1:5556 --json - | head -1
kinestream listen tcp://tracker.local:5556 --keys robot
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from kinestream.defaults import DEFAULT_ENDPOINT
from kinestream.tools import options
from kinestream.tools.commands.error_reporting import report_errors

if TYPE_CHECKING:
    from kinestream.stream import PoseMessage, Subscriber

REFRESH_S = 0.25
PATIENCE_S = 2.0
"""Without a pose for this long, what is heard of the publisher is said."""


def listen(
    address: Annotated[str, typer.Argument(help="Where the tracker publishes.")] = DEFAULT_ENDPOINT,
    json: options.Json = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.")] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of this listener's keys, for a publisher with keys.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Give up after this many seconds without a frame.")
    ] = None,
) -> None:
    """Show age, rate, jitter and gaps of a pose stream.

    Stops with Ctrl-C. Exit code 1 when nothing comes within --timeout.
    """
    from kinestream.stream import Subscriber
    from kinestream.tools.sinks import JsonLinesSink

    console = Console(stderr=True, highlight=False)
    with report_errors(), ExitStack() as stack:
        subscriber = stack.enter_context(Subscriber(address, keys=keys))
        lines = stack.enter_context(JsonLinesSink(json)) if json is not None else None
        console.print(f"listening to {address}; Ctrl-C stops", markup=False)
        arrivals = Arrivals()
        shown_s = 0.0
        with Live(console=console, auto_refresh=False, transient=True) as live:
            try:
                for message in heard(subscriber, console, timeout):
                    arrivals.take(message, time.monotonic_ns())
                    if lines is not None:
                        lines.add(message.frame)
                    if str(json) != "-" and console.is_terminal and time.monotonic() - shown_s > REFRESH_S:
                        shown_s = time.monotonic()
                        live.update(Text(arrivals.line(subscriber)), refresh=True)
                    if subscriber.received == count:
                        break
            except KeyboardInterrupt:
                pass
        console.print(arrivals.line(subscriber))


def heard(
    subscriber: "Subscriber", console: Console, timeout_s: float | None = None
) -> "Iterator[PoseMessage]":
    """Poses as they arrive; where none come, what is heard of the publisher is said, at each change.

    Raises ``StreamTimeoutError`` after ``timeout_s`` without one.
    """
    from kinestream.stream import StreamTimeoutError

    said, since_s = "", time.monotonic()
    while True:
        left_s = PATIENCE_S if timeout_s is None else since_s + timeout_s - time.monotonic()
        try:
            message = subscriber.receive(timeout_ms=1000 * min(PATIENCE_S, max(0.0, left_s)))
        except StreamTimeoutError:
            if timeout_s is not None and left_s <= PATIENCE_S:
                raise subscriber.silence(1000 * timeout_s) from None
            if subscriber.condition != said:
                said = subscriber.condition
                waited_s = time.monotonic() - since_s
                console.print(f"no pose for {waited_s:.0f} s; {subscriber.describe()}", markup=False)
            continue
        if said:
            console.print(f"poses arrive, after {time.monotonic() - since_s:.0f} s")
        said, since_s = "", time.monotonic()
        yield message


class Arrivals:
    """Rate, jitter, longest gap and age over the newest 120 messages."""

    def __init__(self) -> None:
        self._arrivals_ns: deque[int] = deque(maxlen=120)
        self._starts_ns: deque[int] = deque(maxlen=120)
        self._people = 0

    def take(self, message: "PoseMessage", now_ns: int) -> None:
        """Note a message that came at ``now_ns``, monotonic clock."""
        self._arrivals_ns.append(now_ns)
        live = message.clock == "monotonic"
        self._starts_ns.append(message.frame.t_capture_ns if live else message.t_publish_ns)
        self._people = len(message.frame)

    def line(self, subscriber: "Subscriber") -> str:
        """One line. The age counts from capture, for files from publishing."""
        if len(self._arrivals_ns) < 2:
            return f"{subscriber.received} frames"
        arrivals_ns = list(self._arrivals_ns)
        pauses_ms = [(b - a) / 1e6 for a, b in pairwise(arrivals_ns)]
        mean_ms = sum(pauses_ms) / len(pauses_ms)
        jitter_ms = (sum((pause - mean_ms) ** 2 for pause in pauses_ms) / len(pauses_ms)) ** 0.5
        parts = [
            f"{subscriber.received} frames",
            f"{1000 / max(mean_ms, 1e-6):.1f} fps",
            f"jitter {jitter_ms:.1f} ms, longest gap {max(pauses_ms):.0f} ms",
            *self._age(subscriber),
            f"{self._people} {'person' if self._people == 1 else 'people'}",
            f"{subscriber.missed} missed",
        ]
        if subscriber.malformed:
            parts.append(f"{subscriber.malformed} malformed")
        return ", ".join(parts)

    def _age(self, subscriber: "Subscriber") -> list[str]:
        """Median age: on the common monotonic clock, or by the wall clocks of two computers."""
        from kinestream.stream.publisher import clock_id

        heartbeat = subscriber.heartbeat
        if heartbeat is None:
            return []
        same = heartbeat.identity.clock_id == clock_id()
        to_ours_ns = 0
        if not same:
            to_ours_ns = heartbeat.t_unix_ns - heartbeat.t_publish_ns - (time.time_ns() - time.monotonic_ns())
        ages_ms = sorted(
            (arrival - start - to_ours_ns) / 1e6
            for arrival, start in zip(self._arrivals_ns, self._starts_ns, strict=True)
        )
        return [f"age {ages_ms[len(ages_ms) // 2]:.1f} ms{'' if same else ' by wall clocks'}"]
