"""int8 for the cpu engine: what it gains in time and costs in accuracy. A measurement, not an engine.

    python -m tools.bench.quantisation --crops FOLDER [--data DATA] [--threads 1] [--report FILE.json]

Convolutions are quantised by ONNX Runtime, weights per channel, activations calibrated on pictures from a
folder. Accuracy is that of ``tools.bench.accuracy`` on the same pictures for both precisions: PCK@0.2 on
``DATA/images/lspet``, PA-MPJPE on ``DATA/bench/bodypose3d``. int8 would be worth shipping if it lost at most
0.5 points of PCK and 1 mm.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tools.bench import accuracy_sets
from tools.bench.crops import arguments_of, noise_crops, picture_crops
from tools.bench.engines import inference_network
from tools.bench.timing import measure_paired, write_report
from tracker.body.model import BodyModel
from tracker.latent.flow import PoseFlow
from tracker.regress.engine import NetworkInput, TorchEngine, drift, examples
from tracker.regress.engine_cpu import CpuEngine, export_onnx
from tracker.regress.network import RegressorConfig, RegressorNetwork
from tracker.regress.regressor import Regressor, network_inputs
from tracker.regress.shipped import DEFAULT_WEIGHTS

LIMITS: Final = {"pck_points": 0.5, "pa_mpjpe_mm": 1.0}
BATCHES: Final = (1, 4, 16)
_CALIBRATION_BATCH: Final = 8


def quantised(graph: bytes, inputs: tuple[NetworkInput, ...], crops: Tensor, *, method: str) -> bytes:
    """The graph with int8 convolutions, activations calibrated on crops (N, 3, S, S).

    ``method`` is a name of onnxruntime.quantization.CalibrationMethod: MinMax, Entropy, Percentile.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = _feeds(crops, len(inputs))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(graph)
        quantize_static(
            before, after, Reader(),
            quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
        )  # fmt: skip
        return after.read_bytes()


def _feeds(crops: Tensor, inputs: int) -> Iterator[dict[str, Any]]:
    for images in crops.split(_CALIBRATION_BATCH):
        arguments = arguments_of(images.contiguous())
        yield {f"input_{index}": arguments[index].numpy() for index in range(inputs)}


def engines_of(
    network: RegressorNetwork, crops: Tensor, *, method: str
) -> tuple[dict[str, CpuEngine], TorchEngine]:
    """The network in ONNX Runtime in float32 and in int8, and in torch."""
    inputs = network_inputs(network.config)
    reference = TorchEngine(network)
    graph, like = export_onnx(network, inputs), reference(*examples(inputs, 1))
    int8 = quantised(graph, inputs, crops, method=method)
    return {"float32": CpuEngine(graph, like), "int8": CpuEngine(int8, like)}, reference


def figures(
    engines: dict[str, CpuEngine], reference: TorchEngine, crops: Tensor, *, repeats: int
) -> dict[str, dict[str, Any]]:
    """Latency by batch, and the differences from torch on crops that were not calibrated on."""
    results: dict[str, dict[str, Any]] = {name: {} for name in engines}
    for batch in BATCHES:
        arguments = arguments_of(noise_crops(batch, crops.shape[-1]))
        calls = {name: partial(engine, *arguments) for name, engine in engines.items()}
        for name, latency in measure_paired(calls, repeats=repeats, warmup=3).items():
            results[name][f"batch_{batch}"] = latency
    arguments = arguments_of(crops.contiguous())
    expected = reference(*arguments)
    for name, engine in engines.items():
        found = engine(*arguments)
        far = (found.points - expected.points).norm(dim=-1) * crops.shape[-1] / 2
        results[name]["drift"] = drift(found, expected)
        results[name]["keypoint_px_p50"] = float(np.percentile(far.numpy(), 50))
        results[name]["keypoint_px_p95"] = float(np.percentile(far.numpy(), 95))
    return results


def accuracy(engine: CpuEngine, config: RegressorConfig, data: Path, limit: int | None) -> dict[str, float]:
    """PCK and PA-MPJPE against labels; sets that are not there are left out."""
    regressor, found = Regressor(engine, config), {}
    photos, video = data / "images" / "lspet", data / "bench" / "bodypose3d"
    if photos.is_dir():
        scores = accuracy_sets.lspet(regressor, photos, limit=limit)
        found["pck_0.2_percent"] = scores["pck_0.2_without_presence_percent"]
    if video.is_dir():
        flow = PoseFlow.load().eval().requires_grad_(False)
        scores = accuracy_sets.bodypose3d(regressor, video, flow, BodyModel.load(), limit=limit)
        found["pa_mpjpe_mm"] = scores["pa_mpjpe_mm"]
    return found


def verdict(float32: dict[str, Any], int8: dict[str, Any]) -> dict[str, Any]:
    """What int8 loses, and whether that is within the limits; ``holds`` is None without labels for both."""
    lost: dict[str, Any] = {}
    if "pck_0.2_percent" in float32:
        lost["pck_points"] = float32["pck_0.2_percent"] - int8["pck_0.2_percent"]
    if "pa_mpjpe_mm" in float32:
        lost["pa_mpjpe_mm"] = int8["pa_mpjpe_mm"] - float32["pa_mpjpe_mm"]
    holds = all(lost[name] <= limit for name, limit in LIMITS.items()) if len(lost) == len(LIMITS) else None
    return {**lost, "holds": holds}


def main(
    crops: Annotated[Path, typer.Option(help="folder of pictures of people, to calibrate and compare on")],
    data: Annotated[
        Path | None, typer.Option(envvar="KINESTREAM_DATA", help="data folder, for labels")
    ] = None,
    weights: Annotated[Path, typer.Option(help="regressor weights")] = DEFAULT_WEIGHTS,
    count: Annotated[int, typer.Option(help="pictures; every second one calibrates", min=2)] = 256,
    method: Annotated[str, typer.Option(help="MinMax, Entropy or Percentile")] = "MinMax",
    limit: Annotated[int | None, typer.Option(help="at most so many labelled pictures per set")] = None,
    threads: int = 1,
    repeats: int = 50,
    report: Annotated[Path | None, typer.Option(help="write JSON here")] = None,
) -> None:
    """Print a table, and write a report if asked for."""
    torch.set_num_threads(threads)
    network = inference_network(weights)
    pictures = picture_crops(crops, count, network.config.crop_px)
    engines, reference = engines_of(network, pictures[::2], method=method)
    results = figures(engines, reference, pictures[1::2], repeats=repeats)
    if data is not None:
        for name, engine in engines.items():
            results[name] |= accuracy(engine, network.config, data, limit)
    outcome = verdict(results["float32"], results["int8"])
    table = Table("", *results)
    for key in results["float32"]:
        values = [results[name][key] for name in results]
        table.add_row(key, *(f"{getattr(v, 'p50_ms', v):.4g}" for v in values))
    console = Console()
    console.print(table)
    console.print(f"lost by int8: {outcome}; limits {LIMITS}")
    if report is not None:
        content = {"weights": weights.name, "threads": threads, "method": method, "pictures": len(pictures)}
        write_report(
            report, "quantisation", content | {"limits": LIMITS, "lost": outcome, "results": results}
        )


if __name__ == "__main__":
    typer.run(main)
