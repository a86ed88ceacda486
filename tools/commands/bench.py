"""``kinestream bench TOPIC``: measure, and put all measurements on one page.

kinestream bench clip                                 the embedded clip, all filters; needs no data
kinestream bench speed CLIP --mediapipe-python PYTHON whole pipeline beside MediaPipe Pose
kinestream bench filter CACHE.npz                     filters on held-out motion capture
kinestream bench kernels                              raster, alignment, keypoint losses, body model
kinestream bench report                               only the page, of what is in the folder
"""

import subprocess
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kinestream.tools.commands.error_reporting import report_errors


def bench(
    context: typer.Context,
    topic: Annotated[
        str,
        typer.Argument(help="clip, speed, accuracy, engines, filter, kernels; or report, the page alone."),
    ] = "clip",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results and page.")] = Path(
        "kinestream-bench"
    ),
) -> None:
    """Measure TOPIC and write report.html, report.md and report.json.

    Everything after the topic goes to the benchmark: see python -m kinestream.tools.bench.TOPIC --help.
    """
    from kinestream.tools.bench.report import write
    from kinestream.tools.bench.topics import TOPICS

    console = Console(highlight=False)
    if topic != "report" and topic not in TOPICS:
        raise typer.BadParameter(f"expected report or one of {', '.join(TOPICS)}, found {topic!r}")
    with report_errors():
        out.mkdir(parents=True, exist_ok=True)
        for tool in TOPICS.get(topic, ()):
            console.print(f"[bold]{tool.module}[/]")
            done = subprocess.run(tool.command(out, context.args), check=False)
            if done.returncode:
                raise typer.Exit(done.returncode)
        console.print(f"{write(out)}")
