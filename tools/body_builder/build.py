"""The command that builds the default body file: ``python -m kinestream.tools.body_builder``."""

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from kinestream.defaults import ASSETS
from kinestream.tools.body_builder.archive import BoundMesh, template_sha256, write_body
from kinestream.tools.body_builder.assemble import BuildOptions, build_body
from kinestream.tools.body_builder.population import AnnyMissingError, Population, draw_population

EMBEDDED_BODY = ASSETS / "body.npz"

console = Console(stderr=True)


class _Bars:
    """One progress bar per step of the builder."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._display.add_task(step)
        self._display.update(self._tasks[step], completed=done, total=total)


def main(
    out: Annotated[Path, typer.Option(help="Body file (.npz) to write.")],
    count: Annotated[int, typer.Option(min=100, help="Adults to draw.")] = 1200,
    seed: Annotated[int, typer.Option(help="Seed of the adults and of the poses.")] = 0,
    population: Annotated[
        Path | None,
        typer.Option(help="Read the adults from this file if it exists, else draw them and write it."),
    ] = None,
    keep_mesh: Annotated[
        Path, typer.Option(help="Body file whose vertices, order and triangles are kept.")
    ] = EMBEDDED_BODY,
    new_mesh: Annotated[
        bool, typer.Option("--new-mesh", help="Decimate anew; assets bound to the old mesh need rebinding.")
    ] = False,
    vertices: Annotated[int, typer.Option(min=500, help="Vertices of a new mesh.")] = 6900,
    poses: Annotated[int, typer.Option(min=40, help="Random poses behind the pose correctives.")] = 150,
) -> None:
    """Draw adults from `anny`, build the SMPL-layout body of their population and write it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=console)])
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    try:
        mesh = None if new_mesh else BoundMesh.load(keep_mesh)
        with Progress(*columns, TimeElapsedColumn(), console=console) as display:
            bars = _Bars(display)
            if population is not None and population.exists():
                adults = Population.load(population)
            else:
                adults = draw_population(count, seed=seed, progress=bars)
                if population is not None:
                    adults.save(population)
            options = BuildOptions(vertices=vertices, poses=poses, seed=seed)
            body, figures = build_body(adults, mesh=mesh, options=options, progress=bars)
        size = write_body(out, body)
    except (AnnyMissingError, ValueError, OSError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error

    table = Table("figure", "value", title=str(out))
    table.add_row("vertices, triangles", f"{len(body.template_m)}, {len(body.faces)}")
    table.add_row("template sha256", template_sha256(body.template_m))
    table.add_row("size (MB)", f"{size / 1e6:.3f}")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)
