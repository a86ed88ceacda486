"""Accuracy of the shipped (or of given) weights on rendered people, photos and calibrated video.

    python -m tools.bench.accuracy --data DATA [--pool POOL] [--weights FILE] [--report FILE.json]

Protocols are in :mod:`tools.bench.accuracy_sets`. Sets that are not in the data folder are left out, with a
warning.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from tools.bench import accuracy_sets as sets
from tools.bench.timing import write_report
from tracker.body.model import BodyModel
from tracker.latent.flow import PoseFlow
from tracker.regress.regressor import DEFAULT_WEIGHTS, Regressor, load_network

_logger = logging.getLogger(__name__)


def run(
    weights: Path, data: Path, pool: Path | None, flow: PoseFlow, body: BodyModel, *, limit: int | None
) -> dict[str, dict[str, Any]]:
    """Metrics by set."""
    network = load_network(weights)
    regressor = Regressor.load(weights)
    results: dict[str, dict[str, Any]] = {}
    if pool is not None and (pool / "val").is_dir():
        results["rendered"] = sets.rendered(network, pool / "val", data, flow, body, limit=limit)
    else:
        _logger.warning("no crop pool (--pool): rendered people are left out")
    photos, video = data / "images" / "lspet", data / "bench" / "bodypose3d"
    if photos.is_dir():
        results["lspet"] = sets.lspet(regressor, photos, limit=limit)
    if video.is_dir():
        results["bodypose3d"] = sets.bodypose3d(regressor, video, flow, body, limit=limit)
    for folder in (photos, video):
        if not folder.is_dir():
            _logger.warning("no %s: left out", folder)
    return results


def main(
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="data folder")],
    pool: Annotated[Path | None, typer.Option(help="folder with a crop pool val/")] = None,
    weights: Annotated[Path, typer.Option(help="regressor weights")] = DEFAULT_WEIGHTS,
    flow: Annotated[Path | None, typer.Option(help="pose flow; default: the shipped one")] = None,
    limit: Annotated[int | None, typer.Option(help="at most so many pictures per set")] = None,
    report: Annotated[Path | None, typer.Option(help="write JSON here")] = None,
    threads: int = 1,
) -> None:
    """Print a table, and write a report if asked for."""
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(threads)
    results = run(
        weights, data, pool, PoseFlow.load(flow).eval().requires_grad_(False), BodyModel.load(), limit=limit
    )
    table = Table("set", "metric", "value", title=f"{weights.name}, float32, {threads} thread(s)")
    for name, metrics in results.items():
        for metric, value in metrics.items():
            table.add_row(name, metric, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)
    if report is not None:
        write_report(report, "accuracy", {"weights": weights.name, "results": results})


if __name__ == "__main__":
    typer.run(main)
