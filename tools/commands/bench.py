"""``kinestream bench TOPIC``: measure, and put all measurements on one page.

kinestream bench clip                                 the embedded clip, all filters; needs no data
kinestream bench speed --mediapipe-python PYTHON      whole pipeline beside MediaPipe Pose
kinestream bench filter --mocap CACHE.npz             filters on held-out motion capture
kinestream bench kernels                              raster, alignment, body model
kinestream bench report                               only the page, of what is in the folder
"""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from kinestream.tools.commands.error_reporting import report_errors

TOPICS: Final[dict[str, tuple[str, ...]]] = {
    "clip": ("clip",),
    "speed": ("speed",),
    "accuracy": ("accuracy",),
    "engines": ("speed.engines",),
    "filter": ("filter",),
    "kernels": ("kernels.raster", "kernels.alignment", "kernels.body"),
}
"""Modules of `kinestream.tools.bench` by topic; each writes a report of the last part of its name."""


def bench(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help=f"{', '.join(TOPICS)}; or report, the page alone.")] = "clip",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results and page.")] = Path(
        "kinestream-bench"
    ),
) -> None:
    """Measure TOPIC and write report.html, report.md and report.json.

    Everything after the topic goes to the benchmark: see python -m kinestream.tools.bench.TOPIC --help.
    """
    from kinestream.tools.bench.report import write

    console = Console(highlight=False)
    if topic != "report" and topic not in TOPICS:
        raise typer.BadParameter(f"expected report or one of {', '.join(TOPICS)}, found {topic!r}")
    with report_errors():
        out.mkdir(parents=True, exist_ok=True)
        for name in TOPICS.get(topic, ()):
            console.print(f"[bold]{name}[/]")
            report = out / f"{name.rpartition('.')[2]}.json"
            command = [sys.executable, "-m", f"kinestream.tools.bench.{name}", *context.args]
            done = subprocess.run([*command, "--out", str(report)], check=False)
            if done.returncode:
                raise typer.Exit(done.returncode)
        console.print(f"{write(out)}")
