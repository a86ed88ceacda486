"""``kinestream listen``: what arrives on a stream, and how well.

kinestream listen
kinestream listen tcp://127.0.0.1:5556 --json | head -1
"""

import json as json_module
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tools.commands.failure import told_plainly

if TYPE_CHECKING:
    from tracker.stream import PoseMessage, Subscriber

REFRESH_S = 0.25


def listen(
    address: Annotated[str, typer.Argument(help="Where the tracker publishes.")] = "tcp://127.0.0.1:5556",
    json: Annotated[
        bool, typer.Option("--json", help="Print every frame as a line of JSON on standard output.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many frames.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Give up after this many seconds without a frame.")
    ] = None,
) -> None:
    """Show age, rate, jitter and gaps of a pose stream.

    Stops with Ctrl-C. Exit code 1 when nothing comes within --timeout.
    """
    from tools.sinks import frame_as_dict
    from tracker.stream import Subscriber

    console = Console(stderr=True, highlight=False)
    timeout_ms = None if timeout is None else 1000 * timeout
    with told_plainly(), Subscriber(address, timeout_ms=timeout_ms) as subscriber:
        console.print(f"listening to {address}; Ctrl-C stops")
        arrivals = Arrivals()
        shown_s = 0.0
        with Live(console=console, auto_refresh=False, transient=True) as live:
            try:
                for message in subscriber:
                    arrivals.take(message, time.monotonic_ns())
                    if json:
                        typer.echo(json_module.dumps(frame_as_dict(message.frame), separators=(",", ":")))
                    elif console.is_terminal and time.monotonic() - shown_s > REFRESH_S:
                        shown_s = time.monotonic()
                        live.update(Text(arrivals.line(subscriber)), refresh=True)
                    if subscriber.received == count:
                        break
            except KeyboardInterrupt:
                pass
        console.print(arrivals.line(subscriber))


class Arrivals:
    """Rate, jitter and age over the newest 120 messages."""

    def __init__(self) -> None:
        self._arrivals_ns: deque[int] = deque(maxlen=120)
        self._ages_ns: deque[int] = deque(maxlen=120)
        self._people = 0

    def take(self, message: "PoseMessage", now_ns: int) -> None:
        """Note a message that came at ``now_ns``, monotonic clock."""
        self._arrivals_ns.append(now_ns)
        start_ns = message.frame.t_capture_ns if message.clock == "monotonic" else message.t_publish_ns
        self._ages_ns.append(now_ns - start_ns)
        self._people = len(message.frame)

    def line(self, subscriber: "Subscriber") -> str:
        """One line; the age is only shown where the clocks are the same."""
        from tracker.stream.publisher import clock_id

        if len(self._arrivals_ns) < 2:
            return f"{subscriber.received} frames"
        gaps_ms = [
            (later - sooner) / 1e6
            for sooner, later in zip(self._arrivals_ns, list(self._arrivals_ns)[1:], strict=False)
        ]
        mean_ms = sum(gaps_ms) / len(gaps_ms)
        jitter_ms = (sum((gap - mean_ms) ** 2 for gap in gaps_ms) / len(gaps_ms)) ** 0.5
        parts = [
            f"{subscriber.received} frames",
            f"{1000 / max(mean_ms, 1e-6):.1f} fps",
            f"jitter {jitter_ms:.1f} ms",
        ]
        heartbeat = subscriber.heartbeat
        if heartbeat is not None and heartbeat.identity.clock_id == clock_id():
            parts.append(f"age {sorted(self._ages_ns)[len(self._ages_ns) // 2] / 1e6:.1f} ms")
        parts.append(f"{self._people} {'person' if self._people == 1 else 'people'}")
        parts.append(f"{subscriber.missed} missed")
        if subscriber.malformed:
            parts.append(f"{subscriber.malformed} malformed")
        return ", ".join(parts)
