"""How much later a message comes over WebSocket than over ZeroMQ, on the same stream in one run.

python -m kinestream.tools.bench.speed.websocket --out docs/benchmarks/websocket.json

Two readers in processes of their own take the time from `t_publish_ns` to the whole message in their hands.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from kinestream.pipeline import Tracker
from kinestream.stream import Publisher, WebSocketServer
from kinestream.tools import options
from kinestream.tools.bench.speed.stream import ANY, one_person
from kinestream.tools.bench.timing import load_average, measure_paired, write_report
from kinestream.tools.metrics.clip import CLIP

RATE_HZ: Final = 30
BUSY_S: Final = 0.02
STALLED: Final = 4
MANY: Final = 8
READERS: Final = ("zeromq", "websocket")


def delays(play: Callable[[Publisher], None], *, stalled: int = 0) -> dict[str, Any]:
    """Milliseconds to each reader while ``play`` publishes, beside ``stalled`` others that never read."""
    with (
        WebSocketServer("127.0.0.1:0") as server,
        Publisher(ANY, heartbeat_s=0.1, websocket=server) as publisher,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(stalled):
            stack.enter_context(stalling(server.address))
        readers = [
            stack.enter_context(reading(name, address))
            for name, address in zip(READERS, (publisher.endpoint, server.address), strict=True)
        ]
        play(publisher)
        time.sleep(0.5)
        found = [
            {int(number): ms for number, ms in json.loads(reader.communicate("")[0]).items()}
            for reader in readers
        ]
    both = sorted(found[0].keys() & found[1].keys())
    rows = {
        name: np.array([times[number] for number in both]) for name, times in zip(READERS, found, strict=True)
    }
    report: dict[str, Any] = {
        "messages": len(both),
        "received": {name: len(times) for name, times in zip(READERS, found, strict=True)},
        "load_average": load_average(),
    }
    rows["websocket_after_zeromq"] = rows["websocket"] - rows["zeromq"]  # message by message
    for name, times_ms in rows.items():
        p50, p95, p99 = np.percentile(times_ms, [50, 95, 99])
        report[name] = {"p50_ms": round(p50, 3), "p95_ms": round(p95, 3), "p99_ms": round(p99, 3)}
    report["websocket_p95_after_zeromq_ms"] = round(
        report["websocket"]["p95_ms"] - report["zeromq"]["p95_ms"], 3
    )
    return report


def steady(publisher: Publisher, seconds: float, busy_s: float = 0.0) -> None:
    """A frame 30 times a second; ``busy_s`` after each are spent in Python, as a tracker might."""
    frame = one_person()
    start_s = time.monotonic()
    for number in range(round(seconds * RATE_HZ)):
        publisher.publish(frame, clock="media")
        busy_until_s = time.monotonic() + busy_s
        while time.monotonic() < busy_until_s:
            sum(range(100))
        time.sleep(max(0.0, start_s + (number + 1) / RATE_HZ - time.monotonic()))


def tracking(publisher: Publisher, clip: Path, seconds: float) -> None:
    """The tracker on a clip as if it were live, over and over."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        with Tracker(clip, policy="paced", publisher=publisher) as tracker:
            for _ in tracker:
                pass


def publishing(repeats: int) -> dict[str, Any]:
    """Milliseconds of `publish` by who listens over WebSocket."""
    frame = one_person()
    counts = {"no_reader": 0, "one_reader": 1, f"{MANY}_readers": MANY}
    with contextlib.ExitStack() as stack:
        publishers = {}
        for name, count in counts.items():
            server = stack.enter_context(WebSocketServer("127.0.0.1:0"))
            publishers[name] = stack.enter_context(Publisher(ANY, heartbeat_s=0.1, websocket=server))
            if count:
                stack.enter_context(reading("websocket", server.address, count))
        calls = {name: lambda p=p: p.publish(frame, clock="media") for name, p in publishers.items()}
        return dict(measure_paired(calls, repeats=repeats))


@contextlib.contextmanager
def reading(kind: str, address: str, count: int = 1) -> Iterator["subprocess.Popen[str]"]:
    """Readers in another process that have heard something when this returns."""
    command = [sys.executable, "-m", "kinestream.tools.bench.speed.stream_reader", kind, address, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        if reader.stdout.readline() != "ready\n":
            raise RuntimeError(f"the reader of {address} ended with code {reader.wait()}")
        try:
            yield reader
        finally:
            reader.kill()


@contextlib.contextmanager
def stalling(address: str) -> Iterator[None]:
    """A connection that is welcome and never reads."""
    host, port = address.removeprefix("ws://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        connection.recv(12)
        yield


def main(
    out: options.Report = Path("docs/benchmarks/websocket.json"),
    repeats: options.Repeats = 1000,
    seconds: Annotated[float, typer.Option(min=1, help="Of each stream.")] = 15.0,
    clip: Annotated[
        Path, typer.Option("--clip", help="Video for the tracker; default: the embedded one.")
    ] = CLIP,
) -> None:
    """Measure delays over both, from an idle, a busy and a real publisher, and what publishing takes."""
    report = {
        "rate_hz": RATE_HZ,
        "busy_s": BUSY_S,
        "stalled_readers": STALLED,
        "idle": delays(lambda publisher: steady(publisher, seconds)),
        "beside_stalled_readers": delays(lambda publisher: steady(publisher, seconds), stalled=STALLED),
        "busy_in_python": delays(lambda publisher: steady(publisher, seconds, BUSY_S)),
        "tracker": delays(lambda publisher: tracking(publisher, clip, 3 * seconds)),
        "publish": publishing(repeats),
    }
    write_report(out, "websocket", report)


if __name__ == "__main__":
    typer.run(main)
