"""The graphs that ship: those of the shipped weights, answering as torch does; any other is passed over."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kinestream.detect.detector import inference_network as detector
from kinestream.engines import onnx_graph
from kinestream.engines.cpu import CpuEngine
from kinestream.engines.engine import Network, check, drift, examples, why_not
from kinestream.engines.torch import TorchEngine
from kinestream.regress.regressor import inference_network as regressor
from kinestream.regress.shipped import MODELS

pytestmark = pytest.mark.usefixtures("one_thread")
REWRITE = "run `python -m kinestream.trainer.weights.graphs`: weights or networks changed"


def shipped(name: str) -> Network:
    return detector()[0] if name == "detector" else regressor(name)[0]


@pytest.mark.skipif(why_not("cpu") is not None, reason="ONNX Runtime is not installed")
@pytest.mark.parametrize("name", ["detector", *MODELS])
def test_a_shipped_graph_answers_as_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = shipped(name)
    monkeypatch.setattr(onnx_graph, "export_onnx", lambda *_: pytest.fail(REWRITE))
    engine, torch = CpuEngine(onnx_graph.onnx_graph(network), network.like), TorchEngine(network.module)
    given = examples(network.inputs, 3)
    assert drift(onnx_graph.reference(network)(*given), torch(*given)) < 1e-4
    assert check(engine, onnx_graph.reference(network), network.inputs) < 1e-4
    rng = np.random.default_rng(3)
    others = [rng.integers(0, 256, (2, *network.inputs[0].example.shape[1:]), np.uint8)]
    others += [entry.example.repeat(2, 0) * np.float32(0.9) for entry in network.inputs[1:]]
    assert drift(engine(*others), torch(*others)) < 1e-4


@pytest.mark.parametrize("fault", ["other weights", "damaged", "missing"])
def test_a_graph_that_does_not_fit_is_passed_over(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "detector.safetensors"
    shutil.copy(detector()[0].weights or "", weights)
    graph = tmp_path / "detector.graph.safetensors"
    shutil.copy(onnx_graph._path(Path(detector()[0].weights or "")), graph)
    monkeypatch.setattr(onnx_graph, "export_onnx", lambda *_: b"exported")
    assert onnx_graph.onnx_graph(detector(weights)[0]) != b"exported"
    if fault == "other weights":
        content = weights.read_bytes()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif fault == "damaged":
        graph.write_bytes(graph.read_bytes()[:5000])
    else:
        graph.unlink()
    assert onnx_graph.onnx_graph(detector(weights)[0]) == b"exported"
    assert ("cannot be read" in caplog.text) == (fault == "damaged")
