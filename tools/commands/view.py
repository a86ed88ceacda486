"""``kinestream view RECORDING``: a recording in the viewer Rerun.

kinestream view walk.mcap                   opens a window
kinestream view walk.mcap --rrd walk.rrd    writes a file for `rerun walk.rrd`, also without a screen
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kinestream.tools.commands.error_reporting import report_errors

if TYPE_CHECKING:
    from kinestream.pose import PoseFrame


def view(
    recording: Annotated[Path, typer.Argument(help="Recording of kinestream record (MCAP).")],
    rrd: Annotated[Path | None, typer.Option(help="Write a Rerun file instead of opening a window.")] = None,
) -> None:
    """Show a recording: pictures where it holds some, skeletons, camera and uncertainty."""
    from kinestream.tools.overwriting import refuse_overwriting
    from kinestream.tools.sinks.rerun import RerunSink

    console = Console(stderr=True, highlight=False)
    with report_errors():
        refuse_overwriting({"--rrd": rrd}, [recording])
        frames = _frames(recording)
        first = next(frames, None)
        if first is None:
            raise ValueError(f"{recording}: holds no poses")
        count = 1
        with RerunSink(None, path=rrd) as sink:
            sink.show(*first)
            for poses, jpeg in frames:
                sink.show(poses, jpeg)
                count += 1
        console.print(f"{count} frames" + (f"; show them with: rerun {rrd}" if rrd else ""), markup=False)


def _frames(recording: Path) -> "Iterator[tuple[PoseFrame, bytes | None]]":
    """Poses, each with the picture that was recorded beside it."""
    from kinestream.stream import PoseMessage, decode, read_messages
    from kinestream.stream.recorder import IMAGE_TOPIC

    waiting: PoseFrame | None = None
    for recorded in read_messages(recording, ("pose", IMAGE_TOPIC)):
        if recorded.topic == IMAGE_TOPIC:
            if waiting is not None:
                yield waiting, base64.b64decode(json.loads(recorded.data)["data"])
            waiting = None
            continue
        if waiting is not None:
            yield waiting, None
        message = decode(recorded.data)
        waiting = message.frame if isinstance(message, PoseMessage) else None
    if waiting is not None:
        yield waiting, None
