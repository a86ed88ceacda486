"""Latency, accuracy against torch, start-up and memory of every engine that can run here.

    python -m kinestream.tools.bench.speed.engines [--weights FILE] [--threads 1] [--crops FOLDER]
        [--report FILE.json]

Drift is the largest difference from torch over the largest value of each output, on pictures from a folder
or on noise. Calls of the engines alternate, so that a busy machine slows all of them alike. Starts happen in
processes of their own: the first builds the engine, the second reads it from a cache of its own. Memory is
the largest resident size of such a process after a batch of 16, Python and torch included. On a GPU, latency
is what a caller waits for, copies included; ``kinestream.tools.bench.speed.gpu_engines`` measures the
device alone.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kinestream.engines.engine import ENGINES, MAX_BATCH, Engine, compile_network, drift, why_not
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import load_network, network_inputs
from kinestream.regress.shipped import DEFAULT_WEIGHTS
from kinestream.tools.bench.speed.crops import arguments_of, noise_crops, picture_crops
from kinestream.tools.bench.timing import Latency, measure_paired, write_report

BATCHES = (1, 4, 16)


def inference_network(weights: Path) -> RegressorNetwork:
    """The regressor's network as the tracker hands it to engines."""
    return load_network(weights)


def compiled(name: str, weights: Path, *, max_batch: int = MAX_BATCH) -> tuple[Engine, float]:
    """The regressor's network in an engine, and the seconds that this took, weights read."""
    network = inference_network(weights)
    inputs = network_inputs(network.config)
    started_s = time.perf_counter()
    engine = compile_network(network, inputs, engine=name, max_batch=max_batch)
    return engine, time.perf_counter() - started_s


@contextmanager
def own_cache() -> Iterator[Path]:
    """An empty cache of engines, for this process and those that it starts."""
    before = os.environ.get("KINESTREAM_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KINESTREAM_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["KINESTREAM_CACHE"]
            else:
                os.environ["KINESTREAM_CACHE"] = before


def start(name: str, weights: Path, threads: int, cache: Path) -> dict[str, float]:
    """One start, for a process of its own."""
    os.environ["KINESTREAM_CACHE"] = str(cache)
    torch.set_num_threads(threads)
    engine, start_s = compiled(name, weights)
    engine(*arguments_of(noise_crops(max(BATCHES), load_network(weights).config.crop_px)))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"start_s": round(start_s, 3), "peak_rss_mb": round(peak_mb, 1)}


def starts(name: str, weights: Path, threads: int, cache: Path) -> dict[str, dict[str, float]]:
    """A first start, which builds, and a second, which reads."""
    found = {}
    for which in ("first", "second"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[which] = pool.submit(start, name, weights, threads, cache).result()
    return found


def run(weights: Path, *, crops: Tensor, threads: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Measurements by engine."""
    names = [name for name in ENGINES[1:] if why_not(name) is None]
    results: dict[str, dict[str, Any]] = {}
    engines: dict[str, Engine] = {}
    with own_cache() as folder:
        for name in names:
            results[name] = dict(starts(name, weights, threads, folder))
            engines[name], _ = compiled(name, weights)
            results[name] |= {"detail": engines[name].detail, "precision": engines[name].precision}
    for batch in BATCHES:
        arguments = arguments_of(crops[:1].expand(batch, -1, -1, -1).contiguous())
        calls = {name: partial(engine, *arguments) for name, engine in engines.items()}
        for name, latency in measure_paired(calls, repeats=repeats, warmup=5).items():
            per_s = round(1000 * batch / latency.p50_ms, 1)
            results[name][f"batch_{batch}"] = {"latency": latency, "crops_per_s": per_s}
    for name, worst in drifts(engines, crops).items():
        results[name]["drift"] = worst
    return results


def drifts(engines: dict[str, Engine], crops: Tensor) -> dict[str, float]:
    """Largest difference of each engine from ``torch`` over batches of the crops."""
    worst = dict.fromkeys(engines, 0.0)
    for images in crops.split(max(BATCHES)):
        arguments = arguments_of(images)
        expected = engines["torch"](*arguments)
        for name, engine in engines.items():
            worst[name] = max(worst[name], drift(engine(*arguments), expected))
    return worst


def main(
    weights: Annotated[Path, typer.Option(help="regressor weights")] = DEFAULT_WEIGHTS,
    crops: Annotated[Path | None, typer.Option(help="folder of pictures of people; else noise")] = None,
    count: Annotated[int, typer.Option(help="crops that are compared", min=1)] = 256,
    threads: int = 1,
    repeats: int = 100,
    report: Annotated[Path | None, typer.Option(help="write JSON here")] = None,
) -> None:
    """Print a table, and write a report if asked for."""
    torch.set_num_threads(threads)
    crop_px = load_network(weights).config.crop_px
    pictures = noise_crops(count, crop_px) if crops is None else picture_crops(crops, count, crop_px)
    results = run(weights, crops=pictures, threads=threads, repeats=repeats)
    console = Console()
    console.print(latencies(results))
    console.print(summary(results, f"{len(pictures)} {'noise' if crops is None else 'pictures'}"))
    if report is not None:
        content = {"weights": weights.name, "threads": threads, "crops": len(pictures)}
        content |= {"crops_of": "noise" if crops is None else "pictures", "results": results}
        write_report(report, "engines", content)


def latencies(results: dict[str, dict[str, Any]]) -> Table:
    """Latency and throughput by engine and batch."""
    table = Table("engine", "batch", "p50 ms", "p95 ms", "p99 ms", "cpu p50 ms", "crops/s")
    for name, found in results.items():
        for batch in BATCHES:
            time_of: Latency = found[f"batch_{batch}"]["latency"]
            shown = (time_of.p50_ms, time_of.p95_ms, time_of.p99_ms, time_of.cpu_p50_ms)
            per_s = f"{found[f'batch_{batch}']['crops_per_s']:.0f}"
            table.add_row(name, str(batch), *(f"{value:.2f}" for value in shown), per_s)
    return table


def summary(results: dict[str, dict[str, Any]], compared: str) -> Table:
    """Drift, start-up and memory by engine."""
    table = Table("engine", f"drift ({compared})", "first start s", "start s", "memory MB")
    for name, found in results.items():
        first, second = found["first"], found["second"]
        seconds = (f"{first['start_s']:.2f}", f"{second['start_s']:.2f}")
        table.add_row(name, f"{found['drift']:.1e}", *seconds, f"{second['peak_rss_mb']:.0f}")
    return table


if __name__ == "__main__":
    typer.run(main)
