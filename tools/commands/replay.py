"""``kinestream replay FILE``: a recording as if it were live, byte for byte.

kinestream replay walk.mcap
kinestream replay walk.mcap --speed 0.25 --loop
kinestream replay walk.mcap --step                 a frame for each press of Enter
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kinestream.defaults import DEFAULT_ENDPOINT
from kinestream.tools.commands.error_reporting import report_errors
from kinestream.tools.commands.stream_options import (
    Bind,
    Insecure,
    Keys,
    WebSocket,
    WebSocketOrigins,
    open_websocket,
)
from kinestream.tools.process import stop_on_signals

if TYPE_CHECKING:
    from kinestream.stream import RecordedMessage


def replay(
    file: Annotated[Path, typer.Argument(help="Recording (MCAP) of kinestream record.")],
    bind: Bind = DEFAULT_ENDPOINT,
    insecure: Insecure = False,
    keys: Keys = None,
    ws: WebSocket = None,
    ws_origin: WebSocketOrigins = None,
    speed: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Play this many times as fast as recorded.")
    ] = 1.0,
    step: Annotated[
        bool, typer.Option("--step", help="Send one frame for each press of Enter; q ends.")
    ] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Start over at the end, until Ctrl-C.")] = False,
    delay: Annotated[
        float, typer.Option(min=0, help="Seconds before the first message, for listeners to connect.")
    ] = 1.0,
) -> None:
    """Publish a recording again: the same messages, at the pace at which they were recorded.

    Times inside the messages stay those of the recording, and so does the stream id.
    """
    from kinestream.stream import Publisher

    console = Console(stderr=True, highlight=False)
    with report_errors(), ExitStack() as stack:
        stop_on_signals()
        next(_messages(file))  # tells what is wrong with the file before anything is published
        websocket = open_websocket(stack, ws, origins=ws_origin, insecure=insecure, keys=keys)
        with Publisher(
            bind, insecure=insecure, keys=keys, heartbeat_s=None, websocket=websocket
        ) as publisher:
            console.print(f"replaying {file} on {publisher.places}; Ctrl-C stops", markup=False)
            frames = 0
            try:
                time.sleep(0 if step else delay)
                for _ in repeat(None) if loop else range(1):
                    messages = _messages(file)
                    for message in stepwise(messages, console) if step else paced(messages, speed):
                        publisher.publish_encoded(message.data)
                        frames += message.topic == "pose"
            except KeyboardInterrupt:
                console.print("stopped")
            console.print(f"{frames} frames")


def paced(messages: "Iterator[RecordedMessage]", speed: float) -> "Iterator[RecordedMessage]":
    """Each message when it is due; late ones at once, without moving those after them."""
    start_s: float | None = None
    for message in messages:
        at_s = message.t_log_ns / 1e9 / speed
        if start_s is None:
            start_s = time.monotonic() - at_s
        time.sleep(max(0.0, start_s + at_s - time.monotonic()))
        yield message


def stepwise(messages: "Iterator[RecordedMessage]", console: Console) -> "Iterator[RecordedMessage]":
    """Up to and with the next pose whenever a line is read from standard input."""
    first_ns = 0
    for message in messages:
        first_ns = first_ns or message.t_log_ns
        if message.topic == "pose":
            console.print(f"{(message.t_log_ns - first_ns) / 1e9:9.3f} s  Enter: send, q: end", end="\r")
            line = sys.stdin.readline()
            if not line or line.strip().lower() == "q":
                raise KeyboardInterrupt
        yield message


def _messages(file: Path) -> "Iterator[RecordedMessage]":
    """Raises ``ValueError`` where there is none."""
    from kinestream.stream import read_messages

    messages = read_messages(file)
    first = next(messages, None)
    if first is None:
        raise ValueError(f"{file}: holds no message of a pose stream; was it recorded by kinestream record?")
    yield first
    yield from messages
