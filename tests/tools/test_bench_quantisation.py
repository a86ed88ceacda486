"""int8: the graph is quantised, runs, differs a little from float32; the verdict follows the limits."""

from pathlib import Path

import onnx
import pytest
import torch

from tools.bench import quantisation
from tools.bench.crops import noise_crops
from tracker.regress.engine import why_not
from tracker.regress.engine_cpu import export_onnx
from tracker.regress.network import RegressorConfig, RegressorNetwork
from tracker.regress.regressor import Regressor, network_inputs

pytestmark = pytest.mark.skipif(why_not("cpu") is not None, reason="ONNX Runtime is not installed")
CONFIG = RegressorConfig(latent_size=5, backbone="tiny", crop_px=64)


def small_network() -> RegressorNetwork:
    torch.manual_seed(0)
    return RegressorNetwork(CONFIG).eval().requires_grad_(False)


def test_convolutions_become_int8_and_no_others() -> None:
    network, inputs = small_network(), network_inputs(CONFIG)
    graph = export_onnx(network, inputs)
    int8 = quantisation.quantised(graph, inputs, noise_crops(12, CONFIG.crop_px), method="MinMax")
    assert len(int8) < len(graph)
    nodes = onnx.load_model_from_string(int8).graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert convolutions and all(made_by.get(node.input[1]) == "DequantizeLinear" for node in convolutions)
    products = [node for node in nodes if node.op_type in ("Gemm", "MatMul")]
    assert products and all(made_by.get(node.input[1]) != "DequantizeLinear" for node in products)


def test_figures_tell_int8_from_float32() -> None:
    crops = noise_crops(10, CONFIG.crop_px)
    engines, reference = quantisation.engines_of(small_network(), crops[::2], method="MinMax")
    found = quantisation.figures(engines, reference, crops[1::2], repeats=2)
    assert found["float32"]["drift"] < 1e-4 < found["int8"]["drift"]
    assert found["int8"]["keypoint_px_p50"] < 4
    assert all(values[f"batch_{batch}"].p50_ms > 0 for values in found.values() for batch in (1, 4, 16))
    assert Regressor(engines["int8"], CONFIG).engine == "cpu"


@pytest.mark.parametrize(
    ("pck", "error_mm", "holds"), [(69.6, 50.9, True), (69.4, 50.0, False), (72.0, 51.1, False)]
)
def test_the_verdict_follows_both_limits(pck: float, error_mm: float, holds: bool) -> None:
    float32 = {"pck_0.2_percent": 70.0, "pa_mpjpe_mm": 50.0}
    assert quantisation.verdict(float32, {"pck_0.2_percent": pck, "pa_mpjpe_mm": error_mm})["holds"] is holds


def test_without_labels_there_is_no_verdict(tmp_path: Path) -> None:
    engines, _ = quantisation.engines_of(small_network(), noise_crops(2, CONFIG.crop_px), method="MinMax")
    assert quantisation.accuracy(engines["int8"], CONFIG, tmp_path, None) == {}
    assert quantisation.verdict({}, {}) == {"holds": None}
