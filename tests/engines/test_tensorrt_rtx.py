"""The exported graphs convert whole to TensorRT-RTX, whose builder needs no GPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from kinestream.detect.detector import PersonDetector
from kinestream.engines.engine import Network, NetworkInput
from kinestream.engines.onnx_graph import export_onnx
from kinestream.engines.tensorrt_library import shape_range
from kinestream.engines.torch import TorchEngine
from kinestream.regress.regressor import Regressor

rtx = pytest.importorskip(
    "tensorrt_rtx",
    reason="TensorRT-RTX is not installed (pip install tensorrt-rtx); graphs are not converted",
)
MAX_BATCH = 16


@pytest.fixture(params=[Regressor, PersonDetector])
def shipped(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[nn.Module, Sequence[NetworkInput]]:
    """A network as it is handed to engines, and its arguments."""
    given: list[Any] = []

    def caught(network: Network, **_: object) -> Any:
        given.append((network.module, network.inputs))
        return TorchEngine(network.module)

    for module in ("kinestream.regress.regressor", "kinestream.detect.detector"):
        monkeypatch.setattr(f"{module}.compile_network", caught)
    request.param.load()
    network, inputs = given[0]
    return network, inputs


def test_the_graph_converts_whole(shipped: tuple[nn.Module, Sequence[NetworkInput]], tmp_path: Path) -> None:
    network, inputs = shipped
    builder = rtx.Builder(rtx.Logger(rtx.Logger.ERROR))
    definition, config = builder.create_network(0), builder.create_builder_config()
    parser = rtx.OnnxParser(definition, rtx.Logger(rtx.Logger.ERROR))
    parsed = parser.parse(export_onnx(network, inputs))
    assert parsed, [str(parser.get_error(index)) for index in range(parser.num_errors)]
    assert definition.num_inputs == len(inputs)
    profile = builder.create_optimization_profile()
    for index, entry in enumerate(inputs):
        profile.set_shape(definition.get_input(index).name, *shape_range(entry, MAX_BATCH))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(definition, config)
    assert plan is not None and plan.nbytes > 100_000
