"""Latency, accuracy against torch, start-up and memory of every engine that can run here.

    python -m kinestream.tools.bench.speed.engines [--model medium] [--crops FOLDER]
        [--out FILE.json]

Drift is the largest difference from torch over the largest value of each output, on pictures from a folder
or on noise. Calls of the engines alternate, so that a busy machine slows all of them alike. Starts happen in
processes of their own: the first builds the engine, the second reads it from a cache of its own. Memory is
the largest resident size of such a process after a batch of 16, Python and torch included. On a GPU, latency
is what a caller waits for, copies included; ``kinestream.tools.bench.speed.gpu_engines`` measures the
device alone.
"""

import os
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

from kinestream.defaults import DEFAULT_MODEL
from kinestream.engines.engine import ENGINES, MAX_BATCH, Engine, compile_network, drift, why_not
from kinestream.regress.regressor import inference_network
from kinestream.regress.shipped import weights_of
from kinestream.tools import options
from kinestream.tools.bench import timing
from kinestream.tools.bench.memory import peak_mb
from kinestream.tools.bench.speed.crops import Crops, arguments_of, noise_crops, picture_crops

BATCHES = (1, 4, 16)


def compiled(name: str, weights: Path, *, max_batch: int = MAX_BATCH) -> tuple[Engine, float]:
    """The regressor's network in an engine, and the seconds that this took."""
    started_s = time.perf_counter()
    engine = compile_network(inference_network(weights)[0], engine=name, max_batch=max_batch)
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
    engine(*arguments_of(noise_crops(max(BATCHES), inference_network(weights)[1].crop_px)))
    return {"start_s": round(start_s, 3), "peak_rss_mb": round(peak_mb(), 1)}


def starts(name: str, weights: Path, threads: int, cache: Path) -> dict[str, dict[str, float]]:
    """A first start, which builds, and a second, which reads."""
    found = {}
    for which in ("first", "second"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[which] = pool.submit(start, name, weights, threads, cache).result()
    return found


def run(weights: Path, *, crops: Crops, threads: int, repeats: int) -> dict[str, dict[str, Any]]:
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
        arguments = arguments_of(crops[:1].repeat(batch, 0))
        calls = {name: partial(engine, *arguments) for name, engine in engines.items()}
        for name, latency in timing.measure_paired(calls, repeats=repeats, warmup=5).items():
            per_s = round(1000 * batch / latency.p50_ms, 1)
            results[name][f"batch_{batch}"] = {"latency": latency, "crops_per_s": per_s}
    for name, worst in drifts(engines, crops).items():
        results[name]["drift"] = worst
    return results


def in_batches(crops: Crops, size: int) -> list[Crops]:
    """The crops, at most ``size`` at a time."""
    return [crops[start : start + size] for start in range(0, len(crops), size)]


def drifts(engines: dict[str, Engine], crops: Crops) -> dict[str, float]:
    """Largest difference of each engine from ``torch`` over batches of the crops."""
    worst = dict.fromkeys(engines, 0.0)
    for images in in_batches(crops, max(BATCHES)):
        arguments = arguments_of(images)
        expected = engines["torch"](*arguments)
        for name, engine in engines.items():
            worst[name] = max(worst[name], drift(engine(*arguments), expected))
    return worst


def main(
    model: options.Model = DEFAULT_MODEL,
    crops: options.Crops = None,
    count: Annotated[int, typer.Option(help="Crops that are compared.", min=1)] = 256,
    threads: options.Threads = 1,
    repeats: options.Repeats = 100,
    out: options.Report = Path("docs/benchmarks/engines.json"),
) -> None:
    """Latency, difference from torch, start-up and memory of every engine that can run here."""
    torch.set_num_threads(threads)
    weights = weights_of(model)
    crop_px = inference_network(weights)[1].crop_px
    source = "noise" if crops is None else "pictures"
    pictures = noise_crops(count, crop_px) if crops is None else picture_crops(crops, count, crop_px)
    results = run(weights, crops=pictures, threads=threads, repeats=repeats)
    console = Console()
    console.print(timing.latency_table(results))
    figures = {
        name: {"drift": f"{found['drift']:.1e}", "first_s": found["first"]["start_s"], **found["second"]}
        for name, found in results.items()
    }
    columns = {
        "drift": f"drift ({len(pictures)} {source})", "first_s": "first start s", "start_s": "start s",
        "peak_rss_mb": "memory MB",
    }  # fmt: skip
    console.print(timing.table(figures, columns, first="engine"))
    content = {"weights": weights.name, "threads": threads, "crops": len(pictures), "crops_of": source}
    timing.write_report(out, "engines", content | {"results": results})


if __name__ == "__main__":
    typer.run(main)
