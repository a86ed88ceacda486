"""``kinestream run SOURCE``: track, publish, record.

kinestream run 0                                     webcam
kinestream run clip.mp4 --save-video overlay.mp4     file, with the bodies drawn over it
kinestream run rtsp://camera.local/stream --policy latest
kinestream run photos/ --json - | jq .persons        folder of pictures, JSON lines
"""

import re
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kinestream.defaults import (
    DEFAULT_ENDPOINT,
    DEFAULT_ENGINE,
    DEFAULT_FILTER,
    DEFAULT_FOV_DEG,
    DEFAULT_MAX_PEOPLE,
    DEFAULT_MODEL,
)
from kinestream.tools.commands import stream_options as stream
from kinestream.tools.commands import tracking_options as tracking
from kinestream.tools.commands.collector import spare_what_is_loaded
from kinestream.tools.commands.error_reporting import report_errors
from kinestream.tools.commands.signals import stop_on_signals

if TYPE_CHECKING:
    from kinestream.tools.sinks import Sink


def _size(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", value):
        raise typer.BadParameter(f"expected WIDTHxHEIGHT such as 1280x720, found {value!r}")
    return value


def run(
    source: Annotated[
        str,
        typer.Argument(
            help="Camera number (0) or device, video file, address (rtsp://, http://), or folder of pictures."
        ),
    ],
    bind: Annotated[
        str, typer.Option(help="Address to publish on.", rich_help_panel="Stream")
    ] = DEFAULT_ENDPOINT,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Publish at all.", rich_help_panel="Stream")
    ] = True,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Allow an address that other computers reach, without keys: anybody can read the poses.",
            rich_help_panel="Stream",
        ),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=1000,
            help="Publish predictions at this rate instead of each frame (live or paced).",
            rich_help_panel="Stream",
        ),
    ] = None,
    lead_ms: Annotated[
        float,
        typer.Option(min=0, max=500, help="Predict the poses this far ahead.", rich_help_panel="Stream"),
    ] = 0.0,
    stream_format: stream.Format = "native",
    to: stream.To = "127.0.0.1:39539",
    min_score: stream.MinScore = None,
    axes: stream.Axes = "camera",
    tilt_deg: stream.TiltDeg = 0.0,
    origin: stream.OriginOption = None,
    keys: stream.Keys = None,
    json: Annotated[
        Path | None, typer.Option(help="Write JSON lines; - is standard output.", rich_help_panel="Files")
    ] = None,
    npz: Annotated[
        Path | None,
        typer.Option(help="Write a NumPy archive, one row per person and frame.", rich_help_panel="Files"),
    ] = None,
    save_video: Annotated[
        Path | None,
        typer.Option(help="Write a video with the bodies drawn over it.", rich_help_panel="Files"),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Record the stream, in the native format only (MCAP; docs/recording.md).",
            rich_help_panel="Files",
        ),
    ] = None,
    record_video: Annotated[
        bool, typer.Option("--record-video", help="Record the pictures as well.", rich_help_panel="Files")
    ] = False,
    view: Annotated[
        bool,
        typer.Option("--view", help="Show everything in the viewer Rerun.", rich_help_panel="Looking"),
    ] = False,
    rrd: Annotated[
        Path | None,
        typer.Option(help="Write what --view shows to a Rerun file.", rich_help_panel="Looking"),
    ] = None,
    snapshots: Annotated[
        Path | None,
        typer.Option(help="Folder for one PNG a second with the bodies drawn.", rich_help_panel="Looking"),
    ] = None,
    policy: tracking.Policy = None,
    size: Annotated[
        str | None,
        typer.Option(callback=_size, help="Ask a camera for WIDTHxHEIGHT.", rich_help_panel="Source"),
    ] = None,
    fps: Annotated[
        float, typer.Option(min=1, max=1000, help="Ask a camera for this rate.", rich_help_panel="Source")
    ] = 30.0,
    max_frames: tracking.MaxFrames = None,
    fov_deg: tracking.FovDeg = DEFAULT_FOV_DEG,
    intrinsics: tracking.Intrinsics = None,
    max_people: tracking.MaxPeople = DEFAULT_MAX_PEOPLE,
    filter_name: tracking.Filter = DEFAULT_FILTER,
    model: tracking.Model = DEFAULT_MODEL,
    engine: tracking.Engine = DEFAULT_ENGINE,
    body: tracking.Body = None,
    vertices: Annotated[
        bool, typer.Option("--vertices", help="Publish the mesh as well.", rich_help_panel="Tracking")
    ] = False,
) -> None:
    """Track the people in SOURCE and publish their poses.

    Stops at the end of a file, or with Ctrl-C. Exit code 1 when the source fails.
    """
    from kinestream.capture import CameraMode, open_source
    from kinestream.geometry.calibration import load_camera
    from kinestream.pipeline import Tracker
    from kinestream.stream import Publisher, check_recordable
    from kinestream.tools.commands.status import StatusLine, summary
    from kinestream.tools.commands.threads import use_few_threads
    from kinestream.tools.sinks import SinkGroup, record_stream

    console = Console(stderr=True, highlight=False)
    with report_errors(), ExitStack() as stack:
        stop_on_signals()
        use_few_threads()
        width, height = (int(side) for side in (size or "1280x720").split("x"))
        camera = load_camera(intrinsics) if intrinsics else None
        publisher = None
        if stream_format != "native" and not publish:
            raise ValueError(f"--no-publish: nothing would leave as --format {stream_format}; leave one out")
        if stream_format == "jsonl" and str(json) == "-":
            raise ValueError(
                "--json -: --format jsonl goes to standard output as well; leave one of the two out"
            )
        if record is not None:
            if stream_format != "native":
                raise ValueError(
                    f"--record: records the native format only, found --format {stream_format}; "
                    "leave one of the two out"
                )
            check_recordable(record)
        if publish or record is not None:
            address = bind if publish else f"inproc://{uuid.uuid4().hex}"
            publisher = stack.enter_context(
                stream.open_outlet(
                    stream_format,
                    bind=address,
                    to=to,
                    min_score=min_score,
                    source=source,
                    insecure=insecure,
                    keys=keys,
                    axes=axes,
                    tilt_deg=tilt_deg,
                    origin=origin,
                    rate_hz=rate,
                )
            )
        frame_source = stack.enter_context(
            open_source(
                source,
                policy=policy,  # type: ignore[arg-type]  # checked by the option
                mode=CameraMode(width, height, fps),
            )
        )
        console.print(f"[bold]{frame_source.info}[/]")
        draws = view or any(path is not None for path in (save_video, rrd, snapshots))
        tracker = stack.enter_context(
            Tracker(
                frame_source,
                camera=camera,
                fov_deg=fov_deg,
                filter=filter_name,
                max_people=max_people,
                vertices=vertices or draws,
                body=body,
                engine=engine,
                regressor=model,
                publisher=publisher,
                lead_ms=lead_ms,
                rate_hz=rate,
            )
        )
        if publisher is not None and publisher.bound and publish:
            console.print(f"publishing on {publisher.endpoint}; Ctrl-C stops")
        files = _sinks(json, npz, save_video, faces=tracker.faces, fps=frame_source.info.fps)
        files += _pictures(view, rrd, snapshots, faces=tracker.faces)
        if record is not None and isinstance(publisher, Publisher):
            files.append(
                record_stream(record, publisher, wait=frame_source.policy == "every", pictures=record_video)
            )
        sinks = stack.enter_context(SinkGroup(files))
        spare_what_is_loaded()
        try:
            with StatusLine(tracker, console) as status:
                for count, (frame, poses) in enumerate(tracker.frames(), start=1):
                    sinks.write(frame, poses)
                    status.update(frame.index)
                    if count == max_frames:
                        break
        except KeyboardInterrupt:
            console.print("stopped")
        finally:
            sinks.close()
            stats = tracker.stats()
            console.print(f"{stats['frames']} frames, {summary(stats).strip()}")
        if sinks.failures:
            raise OSError("; ".join(sinks.failures))


def _sinks(
    json: Path | None, npz: Path | None, video: Path | None, *, faces: Any, fps: float | None
) -> "list[Sink]":
    """The files that were asked for."""
    from kinestream.tools.sinks import JsonLinesSink, NpzSink, OverlayVideoSink

    sinks: list[Sink] = []
    if json is not None:
        sinks.append(JsonLinesSink(json))
    if npz is not None:
        sinks.append(NpzSink(npz))
    if video is not None:
        sinks.append(OverlayVideoSink(video, faces, fps=fps))
    return sinks


def _pictures(view: bool, rrd: Path | None, snapshots: Path | None, *, faces: Any) -> "list[Sink]":
    """What shows the people as they are tracked."""
    from kinestream.tools.sinks.rerun import RerunSink
    from kinestream.tools.sinks.snapshots import SnapshotSink

    sinks: list[Sink] = []
    if view:
        sinks.append(RerunSink(faces))
    if rrd is not None:
        sinks.append(RerunSink(faces, path=rrd))
    if snapshots is not None:
        sinks.append(SnapshotSink(snapshots, faces))
    return sinks
