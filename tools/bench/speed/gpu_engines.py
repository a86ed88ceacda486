"""The whole measurement of the engines on an NVIDIA GPU, in less than ten minutes.

    python -m kinestream.tools.bench.speed.gpu_engines [--crops FOLDER] [--clip 1080P.mp4]
        [--out FILE.json]

For ``tensorrt`` and ``cuda``: build and start, difference from torch in float32 on the CPU over 256 crops,
time of the device for one crop, crops a second at batch 64 with copies, and, with a clip, the whole pipeline
with its stages. Bars: one crop in 1.5 ms, 5,000 crops/s, 200 frames/s; float32 within 1e-4 of torch. Exit
code 2 without a GPU, 1 when a bar is missed or nothing could run.
"""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from kinestream.defaults import DEFAULT_MODEL
from kinestream.engines.cuda_graphs import GraphEngine
from kinestream.engines.engine import EngineError, drift, why_not
from kinestream.engines.torch import TorchEngine
from kinestream.regress.regressor import inference_network
from kinestream.regress.shipped import weights_of
from kinestream.tools import options
from kinestream.tools.bench.speed import pipeline as speed
from kinestream.tools.bench.speed.crops import Crops, arguments_of, noise_crops, picture_crops
from kinestream.tools.bench.speed.engines import compiled, in_batches, own_cache
from kinestream.tools.bench.timing import Latency, measure, write_report

CANDIDATES: Final = ("tensorrt", "cuda")
COMPARED: Final = 256
LARGE_BATCH: Final = 64
BARS: Final = {"device_ms_p50": 1.5, "crops_per_s": 5000.0, "pipeline_fps": 200.0, "drift_float32": 1e-4}


def run(weights: Path, crops: Crops, clip: Path | None, *, repeats: int) -> dict[str, dict[str, Any]]:
    """Measurements by engine; one that cannot run has the reason instead."""
    results: dict[str, dict[str, Any]] = {}
    reference = TorchEngine(inference_network(weights)[0].module)
    for name in CANDIDATES:
        with own_cache():
            try:
                results[name] = engine_figures(name, weights, crops, reference, repeats=repeats)
            except EngineError as error:
                results[name] = {"missing": str(error)}
                continue
            if clip is not None:
                results[name]["pipeline"] = pipeline(clip, name)
    return results


def engine_figures(
    name: str, weights: Path, crops: Crops, reference: TorchEngine, *, repeats: int
) -> dict[str, Any]:
    """Figures of one engine."""
    _, build_s = compiled(name, weights)
    engine, start_s = compiled(name, weights)
    large, _ = compiled(name, weights, max_batch=LARGE_BATCH)
    assert isinstance(engine, GraphEngine) and isinstance(large, GraphEngine)
    one = arguments_of(crops[:1])
    many = arguments_of(crops[np.arange(LARGE_BATCH) % len(crops)])
    device_ms = [engine.device_ms(*one) for _ in range(repeats)]
    latency = measure(lambda: large(*many), repeats=max(repeats // 4, 1), warmup=3)
    return {
        "detail": engine.detail,
        "precision": engine.precision,
        "first_start_s": round(build_s, 2),
        "start_s": round(start_s, 2),
        **difference(engine, reference, crops),
        "device_ms_p50": round(float(np.percentile(device_ms, 50)), 4),
        "device_ms_p95": round(float(np.percentile(device_ms, 95)), 4),
        "call_1": measure(lambda: engine(*one), repeats=repeats),
        f"call_{LARGE_BATCH}": latency,
        "crops_per_s": round(1000 * LARGE_BATCH / latency.p50_ms, 1),
    }


def pipeline(clip: Path, name: str) -> dict[str, Any]:
    """The whole pipeline on a clip, in a process of its own; figures already taken survive its failure."""
    try:
        return speed.track(clip, "--engine", name)
    except RuntimeError as error:
        return {"fps": 0.0, "stage_ms": {}, "failed": str(error)}


def difference(engine: GraphEngine, reference: TorchEngine, crops: Crops) -> dict[str, float]:
    """Largest relative difference of any output, and of the keypoints in pixels of the crop."""
    worst, pixels = 0.0, []
    for images in in_batches(crops, 16):
        arguments = arguments_of(images)
        found, expected = engine(*arguments), reference(*arguments)
        worst = max(worst, drift(found, expected))
        pixels.append(np.linalg.norm(found.points - expected.points, axis=-1).ravel() * crops.shape[-1] / 2)
    far = np.concatenate(pixels)
    quantiles = {
        f"keypoint_px_p{share}": round(float(np.percentile(far, share)), 5) for share in (50, 99, 100)
    }
    return {"crops": len(crops), "drift": worst, **quantiles}


def bars(found: dict[str, Any]) -> dict[str, bool]:
    """Which bars the figures of an engine meet."""
    met = {"crops_per_s": found["crops_per_s"] >= BARS["crops_per_s"]}
    met["device_ms_p50"] = found["device_ms_p50"] <= BARS["device_ms_p50"]
    if found["precision"] == "float32":
        met["drift_float32"] = found["drift"] <= BARS["drift_float32"]
    if "pipeline" in found:
        met["pipeline_fps"] = found["pipeline"]["fps"] >= BARS["pipeline_fps"]
    return met


def main(
    model: options.Model = DEFAULT_MODEL,
    crops: options.Crops = None,
    clip: Annotated[Path | None, typer.Option(help="Video of 1080 lines for the whole pipeline.")] = None,
    repeats: options.Repeats = 200,
    out: options.Report = Path("docs/benchmarks/gpu_engines.json"),
) -> None:
    """Measure the engines on an NVIDIA GPU; exit code 1 where a bar is missed, 2 without a GPU."""
    reason = why_not("cuda")
    if reason is not None:
        sys.stderr.write(f"no CUDA device, nothing was measured ({reason})\n")
        raise typer.Exit(2)
    started_s = time.perf_counter()
    weights = weights_of(model)
    crop_px = inference_network(weights)[1].crop_px
    pictures = noise_crops(COMPARED, crop_px) if crops is None else picture_crops(crops, COMPARED, crop_px)
    results = run(weights, pictures, clip, repeats=repeats)
    verdicts = {name: bars(found) for name, found in results.items() if "missing" not in found}
    Console().print(table(results, verdicts))
    content = {"weights": weights.name, "crops_of": "noise" if crops is None else "pictures"}
    content |= {"clip": clip.name if clip else None, "took_s": round(time.perf_counter() - started_s, 1)}
    write_report(out, "gpu_engines", content | {"bars": BARS, "met": verdicts, "results": results})
    if not verdicts or not all(met for verdict in verdicts.values() for met in verdict.values()):
        raise typer.Exit(1)


def table(results: dict[str, dict[str, Any]], verdicts: dict[str, dict[str, bool]]) -> Table:
    """All figures, one engine a column."""
    shown = Table("", *results)
    for key in dict.fromkeys(key for found in results.values() for key in found):
        shown.add_row(key, *(_cell(key, found, verdicts.get(name, {})) for name, found in results.items()))
    return shown


def _cell(key: str, found: dict[str, Any], met: dict[str, bool]) -> str:
    value = found.get(key, "")
    if key == "pipeline" and value:
        stages = "\n".join(f"{stage} {times['p50']:.2f} ms" for stage, times in value["stage_ms"].items())
        key, value = "pipeline_fps", f"{value['fps']:.0f} frames/s\n{value.get('failed', stages)}"
    elif isinstance(value, Latency):
        value = f"{value.p50_ms:.3f} / {value.p95_ms:.3f} / {value.p99_ms:.3f} ms"
    return f"{value} ({'met' if met[key] else 'MISSED'})" if key in met else str(value)


if __name__ == "__main__":
    typer.run(main)
