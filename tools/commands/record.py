"""``kinestream record SOURCE FILE``: the stream as a file.

kinestream record 0 walk.mcap                        webcam
kinestream record clip.mp4 clip.mcap --video         file, with its pictures
kinestream record tcp://127.0.0.1:5556 live.mcap     what a running tracker publishes
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kinestream.defaults import DEFAULT_FILTER, DEFAULT_FOV_DEG, DEFAULT_MODEL
from kinestream.tools.commands.error_reporting import report_errors
from kinestream.tools.commands.run import run
from kinestream.tools.commands.signals import stop_on_signals
from kinestream.tools.commands.tracking_options import Filter, FovDeg, Intrinsics, MaxFrames, Model, Policy

STREAMS = ("tcp://", "ipc://")


def record(
    source: Annotated[
        str,
        typer.Argument(
            help="What to track, as in kinestream run; or the address of a running tracker (tcp://, ipc://)."
        ),
    ],
    file: Annotated[Path, typer.Argument(help="Recording to write (MCAP); must not exist.")],
    video: Annotated[bool, typer.Option("--video", help="Record the pictures as well.")] = False,
    max_frames: MaxFrames = None,
    policy: Policy = None,
    filter_name: Filter = DEFAULT_FILTER,
    model: Model = DEFAULT_MODEL,
    intrinsics: Intrinsics = None,
    fov_deg: FovDeg = DEFAULT_FOV_DEG,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of a listener's keys, for a tracker with keys.")
    ] = None,
) -> None:
    """Record the people in SOURCE, or the stream of a running tracker, until its end or Ctrl-C.

    The file is complete up to the last 0.2 s even when this program is killed. With more options:
    kinestream run SOURCE --record FILE.
    """
    if source.startswith(STREAMS):
        if video:
            raise typer.BadParameter("a stream of poses holds no pictures", param_hint="--video")
        _record_stream(source, file, max_frames=max_frames, keys=keys)
        return
    run(
        source,
        publish=False,
        record=file,
        record_video=video,
        max_frames=max_frames,
        policy=policy,
        filter_name=filter_name,
        model=model,
        intrinsics=intrinsics,
        fov_deg=fov_deg,
    )


def _record_stream(address: str, file: Path, *, max_frames: int | None, keys: Path | None) -> None:
    """Record what arrives, of every topic, byte for byte."""
    from kinestream.stream import Recorder, Subscriber

    console = Console(stderr=True, highlight=False)
    with (
        report_errors(),
        Recorder(file, source=address) as recorder,
        Subscriber(address, keys=keys, on_message=recorder.add) as subscriber,
    ):
        stop_on_signals()
        console.print(f"recording {address}; Ctrl-C stops")
        try:
            for _ in subscriber:
                if recorder.error is not None:
                    raise recorder.error
                if subscriber.received == max_frames:
                    break
        except KeyboardInterrupt:
            console.print("stopped")
        console.print(f"{subscriber.received} frames, {subscriber.missed} missed")
