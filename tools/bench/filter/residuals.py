"""How the regressor errs in motion: figures of a recording whose truth is exact.

python -m kinestream.trainer.prepare.record_observations CACHE.npz LOOKS.npz --data DATA --split val --clips
24
python -m kinestream.tools.bench.filter.residuals LOOKS.npz --report residuals.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kinestream.tools.bench.filter.residual_statistics import statistics
from kinestream.tools.bench.timing import write_report
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations


def main(
    looks: Annotated[
        Path, typer.Argument(help="Recording made by kinestream.trainer.prepare.record_observations.")
    ],
    report: Annotated[Path, typer.Option(help="JSON to write.")] = Path("docs/benchmarks/residuals.json"),
) -> None:
    """Print the figures and write them."""
    recorded = RecordedObservations.load(looks)
    found = statistics(recorded)
    table = Table("group", *next(iter(found.values())), title="errors of the regressor")
    for name, row in found.items():
        table.add_row(name, *(f"{value:.3g}" for value in row.values()))
    Console(width=130).print(table)
    content = {
        "clips": len(recorded),
        "frames": recorded.frames,
        "fps": recorded.fps,
        "missed_share": float(recorded.missing.mean()),
        "groups": {name: {k: float(f"{v:.4g}") for k, v in row.items()} for name, row in found.items()},
    }
    write_report(report, "residuals", content)


if __name__ == "__main__":
    typer.run(main)
