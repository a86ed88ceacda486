"""Latency, accuracy against torch and start-up of every engine that can run here.

    python -m tools.bench.engines [--weights FILE] [--threads 1] [--report FILE.json]

Crops are noise; drift is the largest difference from torch over the largest value of each output. Calls
of the engines alternate, so that a busy machine slows all of them alike. A first start builds the engine,
the second reads it from a cache of its own. GPUs are not measured.
"""

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from tools.bench.timing import Latency, measure_paired, write_report
from tracker.regress.backbone import fold
from tracker.regress.engine import ENGINES, Engine, compile_network, drift, why_not
from tracker.regress.regressor import DEFAULT_WEIGHTS, load_network, network_inputs

BATCHES = (1, 4, 16)


def arguments_of(batch: int, crop_px: int) -> tuple[torch.Tensor, ...]:
    """Random crops with random small turns and extents."""
    rng = torch.Generator().manual_seed(batch)
    images = torch.randint(0, 256, (batch, 3, crop_px, crop_px), dtype=torch.uint8, generator=rng)
    to_virtual = torch.eye(3) + 0.05 * torch.randn(batch, 3, 3, generator=rng)
    return images, to_virtual, -1.2 + 0.4 * torch.randn(batch, generator=rng)


def start(name: str, weights: Path) -> tuple[Engine, float]:
    """An engine, and the seconds until it stands, weights read."""
    network = load_network(weights)
    fold(network)
    started_s = time.perf_counter()
    return compile_network(
        network, network_inputs(network.config), engine=name
    ), time.perf_counter() - started_s


def run(weights: Path, *, repeats: int) -> dict[str, dict[str, Any]]:
    """Measurements by engine."""
    names = [name for name in ENGINES[1:] if why_not(name) is None]
    before = os.environ.get("KINESTREAM_CACHE")
    results: dict[str, dict[str, Any]] = {}
    engines: dict[str, Engine] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KINESTREAM_CACHE"] = folder
        try:
            for name in names:
                _, build_s = start(name, weights)
                engines[name], start_s = start(name, weights)
                results[name] = {"detail": engines[name].detail, "first_start_s": build_s, "start_s": start_s}
        finally:
            if before is None:
                del os.environ["KINESTREAM_CACHE"]
            else:
                os.environ["KINESTREAM_CACHE"] = before
    crop_px = load_network(weights).config.crop_px
    for batch in BATCHES:
        arguments = arguments_of(batch, crop_px)
        expected = engines["torch"](*arguments)
        calls = {name: partial(engine, *arguments) for name, engine in engines.items()}
        for name, latency in measure_paired(calls, repeats=repeats, warmup=5).items():
            results[name][f"batch {batch}"] = latency
            results[name][f"drift {batch}"] = drift(engines[name](*arguments), expected)
    return results


def main(
    weights: Annotated[Path, typer.Option(help="regressor weights")] = DEFAULT_WEIGHTS,
    threads: int = 1,
    repeats: int = 100,
    report: Annotated[Path | None, typer.Option(help="write JSON here")] = None,
) -> None:
    """Print a table, and write a report if asked for."""
    torch.set_num_threads(threads)
    results = run(weights, repeats=repeats)
    table = Table("engine", "batch", "p50 ms", "p95 ms", "p99 ms", "cpu p50 ms", "crops/s", "drift")
    for name, found in results.items():
        for batch in BATCHES:
            time_of: Latency = found[f"batch {batch}"]
            table.add_row(
                name,
                str(batch),
                *(f"{value:.2f}" for value in (time_of.p50_ms, time_of.p95_ms, time_of.p99_ms)),
                f"{time_of.cpu_p50_ms:.2f}",
                f"{1000 * batch / time_of.p50_ms:.0f}",
                f"{found[f'drift {batch}']:.1e}",
            )
    console = Console()
    console.print(table)
    for name, found in results.items():
        console.print(f"{name}: start {found['first_start_s']:.2f} s, again {found['start_s']:.2f} s")
    if report is not None:
        write_report(report, "engines", {"weights": weights.name, "results": results})


if __name__ == "__main__":
    typer.run(main)
