"""``kinestream cameras``: what can be passed to ``kinestream run``."""

import typer
from rich.console import Console
from rich.table import Table


def cameras() -> None:
    """List the cameras of this computer. Exit code 1 when there is none."""
    from kinestream.capture import list_cameras

    found = list_cameras()
    console = Console(highlight=False)
    if not found:
        console.print(
            "No camera found. Plug one in, and on Linux check that your user is in the group 'video'. "
            "Any number can still be tried: kinestream run 0"
        )
        raise typer.Exit(1)
    table = Table("source", "camera", box=None)
    for camera in found:
        table.add_row(camera.source, camera.description)
    console.print(table)
    console.print(f"\nTry: kinestream run {found[0].source}")
