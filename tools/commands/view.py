"""``kinestream view RECORDING``: a recording in the viewer Rerun, or on a page in the browser.

kinestream view walk.mcap                   opens a window
kinestream view walk.mcap --rrd walk.rrd    writes a file for `rerun walk.rrd`, also without a screen
kinestream view walk.mcap --web             plays it on a page
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kinestream.tools import options
from kinestream.tools.commands.error_reporting import report_errors


def view(
    recording: Annotated[Path, typer.Argument(help="Recording of kinestream record (MCAP).")],
    rrd: Annotated[Path | None, typer.Option(help="Write a Rerun file instead of opening a window.")] = None,
    web: options.Web = None,
) -> None:
    """Show a recording: pictures where it holds some, skeletons, camera and uncertainty."""
    console = Console(stderr=True, highlight=False)
    with report_errors():
        if web is None:
            _in_rerun(recording, rrd, console)
        elif rrd is not None:
            raise ValueError("--rrd: a page writes no file; leave --web or --rrd out")
        else:
            _on_page(recording, web, console)


def _in_rerun(recording: Path, rrd: Path | None, console: Console) -> None:
    from kinestream.tools.overwriting import refuse_overwriting
    from kinestream.tools.recordings import recorded_frames
    from kinestream.tools.sinks.rerun import RerunSink

    refuse_overwriting({"--rrd": rrd}, [recording])
    frames = recorded_frames(recording)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{recording}: holds no poses")
    count = 1
    with RerunSink(None, path=rrd) as sink:
        sink.show(first.poses, first.jpeg)
        for frame in frames:
            sink.show(frame.poses, frame.jpeg)
            count += 1
    console.print(f"{count} frames" + (f"; show them with: rerun {rrd}" if rrd else ""), markup=False)


def _on_page(recording: Path, address: str, console: Console) -> None:
    from kinestream.tools.process import stop_on_signals
    from kinestream.tools.web.page import quiet_viser
    from kinestream.tools.web.player import Player

    quiet_viser()
    stop_on_signals()
    player = Player(recording, address)
    with player.page:
        console.print(f"[bold]{player.page.url}[/] plays {escape(str(recording))}; Ctrl-C stops")
        try:
            player.play()
        except KeyboardInterrupt:
            console.print("stopped")
