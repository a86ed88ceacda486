"""``kinestream run SOURCE``: track, publish, record.

kinestream run 0                                     webcam
kinestream run clip.mp4 --save-video overlay.mp4     file, with the bodies drawn over it
kinestream run rtsp://camera.local/stream --policy latest
kinestream run 0 --web                               a page in the browser, with controls
kinestream run shots/ --json - | jq .persons         folder of pictures, JSON lines
kinestream run photos/ --stills --snapshots out/     photos that do not belong together
"""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kinestream.defaults import (
    DEFAULT_ENDPOINT,
    DEFAULT_ENGINE,
    DEFAULT_FILTER,
    DEFAULT_FOV_DEG,
    DEFAULT_MAX_PEOPLE,
    DEFAULT_MODEL,
    DEFAULT_RECONNECT_S,
)
from kinestream.tools import options
from kinestream.tools.commands import stream_options as stream
from kinestream.tools.commands.error_reporting import report_errors


def _size(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", value):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT such as 1280x720, found {value!r}")
    return value


def run(
    source: Annotated[
        str,
        typer.Argument(
            help="Camera number (0) or device, video file, address (rtsp://, http://), folder of pictures, "
            "pattern (shot_%04d.png), or - for video on standard input."
        ),
    ],
    bind: stream.Bind = DEFAULT_ENDPOINT,
    publish: Annotated[bool, options.stream("--publish/--no-publish", help="Publish at all.")] = True,
    insecure: stream.Insecure = False,
    rate: Annotated[
        float | None,
        options.stream(
            min=0.1, max=1000, help="Publish predictions at this rate instead of each frame (live or paced)."
        ),
    ] = None,
    lead_ms: Annotated[float, options.stream(min=0, max=500, help="Predict the poses this far ahead.")] = 0.0,
    stream_format: stream.Format = "native",
    to: stream.To = "127.0.0.1:39539",
    min_score: stream.MinScore = None,
    axes: stream.Axes = "camera",
    tilt: stream.Tilt = "0",
    origin: stream.OriginOption = None,
    keys: stream.Keys = None,
    ws: stream.WebSocket = None,
    ws_origin: stream.WebSocketOrigins = None,
    json: options.Json = None,
    npz: options.Npz = None,
    save_video: options.SaveVideo = None,
    record: Annotated[
        Path | None,
        options.files(help="Record the stream, in the native format only (MCAP; docs/recording.md)."),
    ] = None,
    pictures: options.Pictures = False,
    view: Annotated[bool, options.viewing("--view", help="Show everything in the viewer Rerun.")] = False,
    rrd: Annotated[Path | None, options.viewing(help="Write what --view shows to a Rerun file.")] = None,
    web: options.Web = None,
    snapshots: Annotated[
        Path | None,
        options.viewing(help="Folder for one PNG a second, or of each still, with the bodies drawn."),
    ] = None,
    policy: options.Policy = None,
    size: Annotated[str, options.source(callback=_size, help="Ask a camera for WIDTHxHEIGHT.")] = "1280x720",
    fps: options.CameraFps = None,
    rotate: options.Rotate = 0,
    flip: options.Flip = False,
    start: options.Start = 0.0,
    end: options.End = None,
    reconnect: options.Reconnect = DEFAULT_RECONNECT_S,
    wait: options.Wait = None,
    max_frames: options.MaxFrames = None,
    fov_deg: options.FovDeg = DEFAULT_FOV_DEG,
    intrinsics: options.Intrinsics = None,
    max_people: options.MaxPeople = DEFAULT_MAX_PEOPLE,
    height_m: options.HeightM = None,
    heights: options.Heights = None,
    filter_name: options.Filter = DEFAULT_FILTER,
    smooth_lag_ms: options.SmoothLagMs = 0.0,
    stills: options.Stills = None,
    model: options.Model = DEFAULT_MODEL,
    flip_test: options.FlipTest = False,
    engine: options.Engine = DEFAULT_ENGINE,
    body: options.Body = None,
    vertices: options.Vertices = False,
) -> None:
    """Track the people in SOURCE and publish their poses.

    Stops at the end of a file, or with Ctrl-C. Exit code 1 when the source fails.
    """
    from kinestream.tools.process import (
        keep_freed_memory,
        start_quickly,
        stop_on_signals,
        use_threads,
    )

    start_quickly()
    from kinestream.capture import CameraMode
    from kinestream.tools.session import Outputs, Session, private_address

    console = Console(stderr=True, highlight=False)
    with report_errors(), ExitStack() as stack:
        stop_on_signals()
        use_threads()
        keep_freed_memory()
        if stream_format != "native" and not publish:
            raise ValueError(f"--no-publish: nothing would leave as --format {stream_format}; leave one out")
        if ws is not None and not publish:
            raise ValueError("--ws: nothing is published with --no-publish; leave one out")
        if stream_format == "jsonl" and str(json) == "-":
            raise ValueError(
                "--json -: --format jsonl goes to standard output as well; leave one of the two out"
            )
        if record is not None and stream_format != "native":
            raise ValueError(
                f"--record: records the native format only, found --format {stream_format}; "
                "leave one of the two out"
            )
        publisher = None
        websocket = stream.open_websocket(stack, ws, origins=ws_origin, insecure=insecure, keys=keys)
        if publish or record is not None:
            publisher = stack.enter_context(
                stream.open_publisher(
                    stream_format,
                    bind=bind if publish else private_address(),
                    to=to,
                    min_score=min_score,
                    source=source,
                    insecure=insecure,
                    keys=keys,
                    axes=axes,
                    tilt=tilt,
                    origin=origin,
                    rate_hz=rate,
                    vertices=vertices,
                    websocket=websocket,
                )
            )
        width, height = map(int, size.split("x"))
        session = stack.enter_context(
            Session(
                source,
                outputs=Outputs(json, npz, save_video, record, pictures, view, rrd, snapshots, web),
                publisher=publisher,
                policy=policy,  # type: ignore[arg-type]  # checked by the option
                mode=CameraMode(width, height, fps or 30.0),
                capture={
                    "fps": fps,
                    "rotate": rotate,
                    "flip": flip,
                    "start_s": start,
                    "end_s": end,
                    "reconnect_s": reconnect,
                    "wait_s": wait,
                },
                intrinsics=intrinsics,
                vertices=vertices,
                tell=console.print,
                fov_deg=fov_deg,
                filter=filter_name,
                max_people=max_people,
                ground=tilt == stream.AUTO,
                heights_m=options.known_heights(height_m, heights),
                body=body,
                engine=engine,
                regressor=model,
                flip_test=flip_test,
                lead_ms=lead_ms,
                rate_hz=rate,
                smooth_lag_ms=smooth_lag_ms,
                stills=stills,
            )
        )
        session.run(console, max_frames=max_frames)
