"""What `run` offers about the stream, and the publisher that follows from it."""

import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinestream.defaults import DEFAULT_WEBSOCKET
from kinestream.tools.options import one_of, stream

if TYPE_CHECKING:
    from kinestream.stream import BasePublisher, WebSocketServer

FORMATS = ("native", "sonic", "sonic-v2", "vmc", "jsonl")


def _format(value: str) -> str:
    if value == "ros2":
        raise typer.BadParameter("run with the native format and start tools/clients/ros2/kinestream_node.py")
    one_of(lambda: FORMATS)(value)
    return value


AUTO = "auto"


def _tilt(value: str) -> str:
    try:
        known = value == AUTO or abs(float(value)) <= 90
    except ValueError:
        known = False
    if not known:
        raise typer.BadParameter(f"expected {AUTO}, or degrees from -90 to 90, found {value!r}")
    return value


def _axes() -> Sequence[str]:
    from kinestream.stream.axes import AXES

    return tuple(AXES)


def _origins() -> Sequence[str]:
    from kinestream.stream.axes import ORIGINS

    return tuple(ORIGINS)


Bind = Annotated[str, stream("--bind", help="Address to publish on.")]
Insecure = Annotated[
    bool,
    stream(
        "--insecure",
        help="Allow an address that other computers reach, without keys: anybody can read the poses.",
    ),
]
Format = Annotated[
    str,
    stream(
        "--format",
        callback=_format,
        help="native (docs/wire.md); sonic, sonic-v2: humanoid controllers; vmc: avatars; jsonl: standard "
        "output.",
    ),
]
To = Annotated[str, stream("--to", help="Where vmc sends to, host:port.")]
MinScore = Annotated[
    float | None,
    stream(
        "--min-score",
        min=0,
        max=1,
        help="sonic: send nobody whose score is lower, so that the robot holds its pose. [default: 0.75]",
    ),
]
Axes = Annotated[
    str,
    stream(
        "--axes", callback=one_of(_axes), help="camera (OpenCV), ros, unity or blender; native and jsonl."
    ),
]
Tilt = Annotated[
    str,
    stream(
        "--tilt",
        "--tilt-deg",
        callback=_tilt,
        help="How far the camera looks down, in degrees; poses are levelled by it. auto: gravity, roll and "
        "floor are estimated from the people.",
    ),
]
OriginOption = Annotated[
    str | None,
    stream(
        "--origin",
        callback=one_of(_origins),
        help="Positions from the camera, from everybody's own hips, or with --tilt auto from the floor under "
        "the camera.",
    ),
]
Keys = Annotated[
    Path | None,
    stream(
        "--keys",
        help="Folder of `kinestream keys`: encrypt, and let only those listen who are allowed there.",
    ),
]
WebSocket = Annotated[
    str | None,
    stream(
        "--ws",
        metavar="[HOST:PORT]",
        help=f"Serve browsers as well, with the native format over WebSocket; alone: {DEFAULT_WEBSOCKET}.",
    ),
]
WebSocketOrigins = Annotated[
    list[str] | None,
    stream(
        "--ws-origin",
        metavar="ORIGIN",
        help="Let pages of this origin listen, such as https://app.example.org; may be given several times. "
        "Pages of this computer always may.",
    ),
]


def open_websocket(
    stack: ExitStack, address: str | None, *, origins: list[str] | None, insecure: bool, keys: Path | None
) -> "WebSocketServer | None":
    """The server for these options, closed with ``stack``; None without ``--ws``.

    Raises ``BindError``, ``KeysError`` and ``ValueError``.
    """
    if address is None:
        if origins:
            raise ValueError("--ws-origin: nothing is served to pages; add --ws, or leave it out")
        return None
    from kinestream.stream import WebSocketServer

    return stack.enter_context(WebSocketServer(address, insecure=insecure, keys=keys, origins=origins or ()))


def open_publisher(
    stream_format: str,
    *,
    bind: str,
    to: str,
    min_score: float | None,
    source: str,
    insecure: bool,
    keys: Path | None,
    axes: str,
    tilt: str,
    origin: str | None,
    rate_hz: float | None,
    vertices: bool = False,
    websocket: "WebSocketServer | None" = None,
) -> "BasePublisher":
    """The publisher for these options. Raises ``BindError``, and ``ValueError`` for options that conflict."""
    from kinestream.stream import OutputFrame, Publisher
    from kinestream.stream.adapters import JsonLinesPublisher, SonicPublisher, VmcSender

    tilt_rad = 0.0 if tilt == AUTO else math.radians(float(tilt))
    sonic = stream_format.startswith("sonic")
    for conflict, option, reason in (
        (axes != "camera" and stream_format not in ("native", "jsonl"), "axes", "has axes of its own"),
        (origin is not None and sonic, "origin", "sends joints relative to the hips"),
        (min_score is not None and not sonic, "min-score", "sends everybody"),
        (websocket is not None and stream_format != "native", "ws", "is not what is served to browsers"),
        (origin == "floor" and tilt != AUTO, "origin floor", "needs --tilt auto"),
        (keys is not None and stream_format in ("vmc", "jsonl"), "keys", "cannot be encrypted"),
    ):
        if conflict:
            raise ValueError(f"--{option}: {stream_format} {reason}; leave it out")
    if stream_format == "vmc":
        return VmcSender(to, source=source, insecure=insecure, origin=origin or "hips", tilt_rad=tilt_rad)  # type: ignore[arg-type]
    if sonic:
        from kinestream.stream.adapters.sonic import MIN_SCORE, RATE_HZ

        if rate_hz != RATE_HZ:
            typer.echo(
                f"note: controllers play {RATE_HZ:g} frames a second; add --rate {RATE_HZ:g} "
                "(and --policy paced for a file)",
                err=True,
            )
        return SonicPublisher(
            bind,
            version=2 if stream_format == "sonic-v2" else 3,
            source=source,
            insecure=insecure,
            keys=keys,
            on_busy="retry",
            min_score=MIN_SCORE if min_score is None else min_score,
            tilt_rad=tilt_rad,
        )
    output = OutputFrame(axes, tilt_rad, origin or "camera")  # type: ignore[arg-type]  # checked above
    if stream_format == "jsonl":
        return JsonLinesPublisher(sys.stdout, source=source, output=output, vertices=vertices)
    return Publisher(
        bind,
        source=source,
        insecure=insecure,
        keys=keys,
        on_busy="retry",
        output=output,
        vertices=vertices,
        websocket=websocket,
    )
