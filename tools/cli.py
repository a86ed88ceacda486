"""The ``kinestream`` command.

kinestream run 0                          webcam to tcp://127.0.0.1:5556
kinestream run clip.mp4 --npz poses.npz --save-video overlay.mp4
kinestream batch videos/ --out results/   many videos, each exactly once
kinestream listen                         what is on the stream
kinestream record 0 walk.mcap             the stream as a file, for replay and export
kinestream doctor                         what this computer can do
"""

import logging
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from kinestream.redact import MaskingFormatter
from kinestream.tools.commands import (
    batch,
    bench,
    cameras,
    demo,
    doctor,
    export,
    keys,
    listen,
    record,
    replay,
    run,
    view,
)

app = typer.Typer(
    name="kinestream",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("record")(record.record)
app.command("replay")(replay.replay)
app.command("view")(view.view)
app.command("export")(export.export)
app.command("demo")(demo.demo)
app.command("batch")(batch.batch)
app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench.bench)
app.command("listen")(listen.listen)
app.command("keys")(keys.keys)
app.command("cameras")(cameras.cameras)
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what happens.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Any camera or video in, a live stream of 3D human poses and body shapes out.

    Start with `kinestream demo`, then `kinestream run 0` (webcam) or `kinestream run clip.mp4` (file).
    """
    if version:
        from kinestream import __version__

        typer.echo(__version__)
        raise typer.Exit
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False, show_level=True)
    handler.setFormatter(MaskingFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)


if __name__ == "__main__":
    app()
