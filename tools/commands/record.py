"""``kinestream record SOURCE FILE``: the stream as a file.

kinestream record 0 walk.mcap                        webcam
kinestream record clip.mp4 clip.mcap --pictures      file, with its pictures
kinestream record tcp://127.0.0.1:5556 live.mcap     what a running tracker publishes
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kinestream.defaults import DEFAULT_FILTER, DEFAULT_FOV_DEG, DEFAULT_MODEL, DEFAULT_RECONNECT_S
from kinestream.tools import options
from kinestream.tools.commands.error_reporting import report_errors
from kinestream.tools.commands.listen import heard
from kinestream.tools.process import (
    keep_freed_memory,
    start_quickly,
    stop_on_signals,
    use_threads,
)

STREAMS = ("tcp://", "ipc://")


def record(
    source: Annotated[
        str,
        typer.Argument(
            help="What to track, as in kinestream run; or the address of a running tracker (tcp://, ipc://)."
        ),
    ],
    file: Annotated[Path, typer.Argument(help="Recording to write (MCAP); must not exist.")],
    pictures: options.Pictures = False,
    max_frames: options.MaxFrames = None,
    policy: options.Policy = None,
    fps: options.CameraFps = None,
    rotate: options.Rotate = 0,
    flip: options.Flip = False,
    start: options.Start = 0.0,
    end: options.End = None,
    reconnect: options.Reconnect = DEFAULT_RECONNECT_S,
    wait: options.Wait = None,
    filter_name: options.Filter = DEFAULT_FILTER,
    model: options.Model = DEFAULT_MODEL,
    intrinsics: options.Intrinsics = None,
    fov_deg: options.FovDeg = DEFAULT_FOV_DEG,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of a listener's keys, for a tracker with keys.")
    ] = None,
) -> None:
    """Record the people in SOURCE, or the stream of a running tracker, until its end or Ctrl-C.

    The file is complete up to the last 0.2 s even when this program is killed. With more options:
    kinestream run SOURCE --record FILE.
    """
    console = Console(stderr=True, highlight=False)
    if source.startswith(STREAMS):
        if pictures:
            raise typer.BadParameter("a stream of poses holds no pictures", param_hint="--pictures")
        _record_stream(source, file, console, max_frames=max_frames, keys=keys)
        return
    with report_errors():
        start_quickly()
        from kinestream.capture import CameraMode
        from kinestream.tools.session import Outputs, Session

        stop_on_signals()
        use_threads()
        keep_freed_memory()
        with Session(
            source,
            outputs=Outputs(record=file, pictures=pictures),
            policy=policy,  # type: ignore[arg-type]  # checked by the option
            mode=CameraMode(fps=fps or 30.0),
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
            tell=console.print,
            fov_deg=fov_deg,
            filter=filter_name,
            regressor=model,
        ) as session:
            session.run(console, max_frames=max_frames)


def _record_stream(
    address: str, file: Path, console: Console, *, max_frames: int | None, keys: Path | None
) -> None:
    """Record what arrives, of every topic, byte for byte."""
    from kinestream.stream import Recorder, Subscriber

    with (
        report_errors(),
        Recorder(file, source=address) as recorder,
        Subscriber(address, keys=keys, on_message=recorder.add) as subscriber,
    ):
        stop_on_signals()
        console.print(f"recording {address}; Ctrl-C stops", markup=False)
        try:
            for _ in heard(subscriber, console):
                if recorder.error is not None:
                    raise recorder.error
                if subscriber.received == max_frames:
                    break
        except KeyboardInterrupt:
            console.print("stopped")
        console.print(f"{subscriber.received} frames, {subscriber.missed} missed")
