"""The ``kinestream`` command.

kinestream run 0                          webcam to tcp://127.0.0.1:5556
kinestream run clip.mp4 --npz poses.npz --save-video overlay.mp4
kinestream batch videos/ --out results/   many videos, each exactly once
kinestream listen                         what is on the stream
kinestream record 0 walk.mcap             the stream as a file, for replay and export
kinestream doctor                         what this computer can do
"""

import logging
from importlib import import_module
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from kinestream.redact import MaskingFormatter
from kinestream.tools.optional_value import CommandWithOptionalValues

COMMANDS = (
    "run", "record", "replay", "view", "export", "demo", "batch", "bench",
    "listen", "keys", "cameras", "doctor",
)  # fmt: skip
"""In the order of the help text. Each is a function of its name in a module of its name."""

app = typer.Typer(
    name="kinestream",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name in COMMANDS:
    handed_on = {"allow_extra_args": True, "ignore_unknown_options": True} if name == "bench" else {}
    module = import_module(f"kinestream.tools.commands.{name}")
    app.command(name, cls=CommandWithOptionalValues, context_settings=handed_on)(getattr(module, name))


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
    logging.getLogger("kinestream.progress").setLevel(logging.INFO)


if __name__ == "__main__":
    app()
