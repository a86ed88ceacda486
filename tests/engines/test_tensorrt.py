"""The tensorrt engine on stand-ins for GPU and library: built once, named by what matters, never trusted."""

import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from kinestream.detect.network import STRIDE, DetectorNetwork
from kinestream.engines import gpu as gpus
from kinestream.engines import tensorrt_library
from kinestream.engines.cuda_graphs import GraphEngine, Prepare, flattened
from kinestream.engines.engine import (
    EngineError,
    NetworkInput,
    NotHereError,
    drift,
    examples,
    flatten,
    why_not,
)
from kinestream.engines.tensorrt_library import TensorRt, export_half, in_order, shape_range
from kinestream.engines.torch import TorchEngine
from kinestream.networks.interface import DetectorConfig
from kinestream.regress.regressor import load_network, network_inputs
from tests.engines import fake_tensorrt
from tests.engines.small_networks import CONFIG, compiled, small_regressor

INPUTS = network_inputs(CONFIG)
pytestmark = pytest.mark.usefixtures("one_thread")


class FakeLibrary:
    """Its serialized engine is the network's weights."""

    def __init__(self) -> None:
        self.versions = {"tensorrt": "11.0.0", "torch_tensorrt": "2.13.0"}
        self.builds = 0
        self.fails: Exception | None = None

    def build(self, made: torch.nn.Module, inputs: Sequence[NetworkInput], max_batch: int, gpu: Any) -> bytes:
        if self.fails is not None:
            raise self.fails
        self.builds += 1
        return safetensors.torch.save(
            {
                name: value.clone(memory_format=torch.contiguous_format)
                for name, value in made.state_dict().items()
            }
        )

    def load(self, plan: bytes, gpu: Any) -> Prepare:
        made = small_regressor()
        try:
            made.load_state_dict(safetensors.torch.load(plan))
        except safetensors.SafetensorError as error:
            raise EngineError(f"engine tensorrt: cannot read the engine ({error})") from error
        return flattened(made)


@pytest.fixture
def library(fake_gpu: Any, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    made = FakeLibrary()
    monkeypatch.setattr(tensorrt_library, "find", lambda: made)
    return made


def builds(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.tensorrt.engine"))


def test_it_is_built_once_with_a_note(
    library: FakeLibrary, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = small_regressor()
    engine = compiled(made, INPUTS, engine="tensorrt")
    assert (engine.name, engine.precision) == ("tensorrt", "float16")
    assert engine.detail == "TensorRT 11.0.0 on Fake GPU 9000"
    assert "building the TensorRT engine for Fake GPU 9000" in caplog.text
    assert drift(engine(*examples(INPUTS, 20)), TorchEngine(made)(*examples(INPUTS, 20))) < 1e-4
    caplog.clear()
    compiled(made, INPUTS, engine="tensorrt")
    assert library.builds == 1 and len(builds(own_cache)) == 1 and not caplog.text


@pytest.mark.parametrize("change", ["weights", "GPU", "driver", "tensorrt", "torch_tensorrt", "batch"])
def test_a_change_of_anything_that_matters_builds_anew(
    change: str, library: FakeLibrary, fake_gpu: Any, own_cache: Path
) -> None:
    compiled(small_regressor(), INPUTS, engine="tensorrt")
    made, max_batch = small_regressor(seed=1 if change == "weights" else 0), 8 if change == "batch" else 16
    if change == "GPU":
        fake_gpu.name = "Another GPU"
    elif change == "driver":
        fake_gpu.driver = "581.0"
    elif change in library.versions:
        library.versions[change] += ".post1"
    compiled(made, INPUTS, engine="tensorrt", max_batch=max_batch)
    assert library.builds == 2 and len(builds(own_cache)) == 2


@pytest.mark.parametrize("damage", ["cut", "stale", "nonsense"])
def test_a_build_that_does_not_fit_is_made_anew(
    damage: str, library: FakeLibrary, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from kinestream.engines import cache as engine_cache

    made = small_regressor()
    compiled(made, INPUTS, engine="tensorrt")
    (path,) = builds(own_cache)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        stranger = library.build(small_regressor(3), INPUTS, 16, None) if damage == "stale" else b"nothing"
        engine_cache.store(path.name, stranger)
    library.builds = 0
    engine = compiled(made, INPUTS, engine="tensorrt")
    expected = {"cut": "is damaged", "stale": "results differ", "nonsense": "cannot read the engine"}
    assert library.builds == 1 and expected[damage] in caplog.text and "building anew" in caplog.text
    assert drift(engine(*examples(INPUTS, 2)), TorchEngine(made)(*examples(INPUTS, 2))) < 1e-4


def test_it_comes_before_cuda_and_cuda_takes_its_place(
    library: FakeLibrary, fake_gpu: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert compiled(small_regressor(), INPUTS).name == "tensorrt"
    library.fails = EngineError("engine tensorrt: cannot convert the network")
    caplog.clear()
    assert compiled(small_regressor(1), INPUTS).name == "cuda"
    assert "engine tensorrt: cannot convert the network" in caplog.text
    assert "engine cuda (torch" in caplog.text


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, fake_gpu: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        NotHereError, match=r"torch_tensorrt and tensorrt not installed; pip install 'kinestr"
    ):
        compiled(small_regressor(), INPUTS, engine="tensorrt")


def test_without_a_gpu_the_packages_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "engine tensorrt: torch" in str(why_not("tensorrt"))


def real_library(monkeypatch: pytest.MonkeyPatch, module: Any, converter: Any = None) -> TensorRt:
    """Our code for the library, on a stand-in for its modules."""
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", converter)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.13.0" if name == "torch_tensorrt" else version(name)
    )
    return TensorRt()


def test_tensors_are_found_by_name_and_run_at_their_addresses(
    monkeypatch: pytest.MonkeyPatch, fake_gpu: Any
) -> None:
    made = small_regressor()
    like = TorchEngine(made)(*examples(INPUTS, 1))
    engine = fake_tensorrt.Engine(made, len(INPUTS), len(flatten(like)))
    library = real_library(monkeypatch, fake_tensorrt.module(engine))
    found = GraphEngine(
        fake_gpu, library.load(b"", fake_gpu),
        name="tensorrt", detail="", precision="float16", like=like, max_batch=4,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    for batch in (3, 1, 6):
        images = rng.integers(0, 256, (batch, 3, 64, 64), np.uint8)
        given = (
            images,
            np.float32(np.eye(3) + 0.1 * rng.normal(size=(batch, 3, 3))),
            rng.random(batch, np.float32),
        )
        assert drift(found(*given), TorchEngine(made)(*given)) < 1e-4


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            fake_tensorrt.module(None, starts=False),
            r"TensorRT 11\.0\.0 does not start with driver 580\.1 .*nullptr.*update the driver",
        ),
        (fake_tensorrt.module(None), "cannot read the engine on Fake GPU 9000"),
    ],
)
def test_what_the_library_refuses_is_named(
    module: Any, message: str, monkeypatch: pytest.MonkeyPatch, fake_gpu: Any
) -> None:
    with pytest.raises(EngineError, match=message):
        real_library(monkeypatch, module).load(b"plan", fake_gpu)


def test_no_context_means_no_memory(monkeypatch: pytest.MonkeyPatch, fake_gpu: Any) -> None:
    made = small_regressor()
    like = TorchEngine(made)(*examples(INPUTS, 1))
    engine = fake_tensorrt.Engine(made, len(INPUTS), len(flatten(like)), contexts=False)
    prepare = real_library(monkeypatch, fake_tensorrt.module(engine)).load(b"", fake_gpu)
    found = GraphEngine(
        fake_gpu, prepare, name="tensorrt", detail="", precision="float16", like=like, max_batch=4
    )
    with pytest.raises(EngineError, match="engine tensorrt: not enough GPU memory"):
        found(*examples(INPUTS, 1))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AssertionError(), r"cannot convert the network \(AssertionError.*--engine cuda"),
        (RuntimeError("CUDA out of memory"), "not enough GPU memory"),
        (RuntimeError("Cuda error 35"), r"the GPU cannot run the network \(Cuda error 35\)"),
    ],
)
def test_a_failing_build_is_named(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, fake_gpu: Any
) -> None:
    def convert(*_: object, **__: object) -> bytes:
        raise error

    dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)
    converter = SimpleNamespace(dynamo=dynamo, Input=dict)
    library = real_library(monkeypatch, fake_tensorrt.module(None), converter)
    with pytest.raises(EngineError, match=message):
        library.build(small_regressor(), INPUTS, 16, fake_gpu)


def test_the_converter_gets_the_ranges_of_every_argument(
    monkeypatch: pytest.MonkeyPatch, fake_gpu: Any
) -> None:
    calls = []

    def convert(program: Any, *, arg_inputs: list[Any], device: Any) -> bytes:
        calls.append((program, arg_inputs, device))
        return b"plan"

    dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)
    library = real_library(
        monkeypatch, fake_tensorrt.module(None), SimpleNamespace(dynamo=dynamo, Input=dict)
    )
    made = small_regressor()
    assert library.build(made, INPUTS, 16, fake_gpu) == b"plan"
    ((program, ranges, device),) = calls
    assert device == fake_gpu.device and isinstance(program, torch.export.ExportedProgram)
    assert [entry["max_shape"] for entry in ranges] == [(16, 3, 64, 64), (16, 3, 3), (16,)]
    assert all(entry["min_shape"][0] == 1 and entry["dtype"] == torch.float32 for entry in ranges)
    assert next(made.parameters()).dtype == torch.float32  # the reference keeps its weights


def test_a_converter_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch, fake_gpu: Any) -> None:
    library = real_library(monkeypatch, fake_tensorrt.module(None))
    with pytest.raises(EngineError, match=r"torch-tensorrt 2\.13\.0 does not load with torch"):
        library.build(small_regressor(), INPUTS, 16, fake_gpu)


def test_the_exported_program_is_the_network_in_half_precision() -> None:
    made = load_network()
    inputs = network_inputs(made.config)
    program, reference = export_half(made, inputs, 16, torch.device("cpu")), TorchEngine(made)
    for batch in (1, 3):
        given = examples(inputs, batch)
        found = program.module()(*(torch.as_tensor(value).float() for value in given))
        halved = [value.detach().numpy() for value in found]
        assert drift(halved, flatten(reference(*given))) > 1e-7
        for half, exact in zip(halved, flatten(reference(*given)), strict=True):
            assert np.abs(half - exact).max() < 0.02 * max(1.0, np.abs(exact).max())
    convolved = [
        node.meta["val"].dtype
        for node in program.run_decompositions({}).graph.nodes
        if node.op == "call_function" and "conv" in str(node.target)
    ]
    assert convolved and set(convolved) == {torch.float16}


def test_frames_of_all_shapes_are_in_the_program() -> None:
    torch.manual_seed(0)
    made = DetectorNetwork(DetectorConfig(backbone="tiny")).eval().requires_grad_(False)
    frame = NetworkInput(np.zeros((1, 3, 96, 160), np.uint8), (0, 2, 3), step=32, largest=320)
    module = export_half(made, (frame,), 1, torch.device("cpu")).module()
    for height, width in ((64, 320), (320, 64), (192, 320)):
        found = module(torch.rand(1, 3, height, width) * 255)
        assert found[0].shape == (1, height // STRIDE, width // STRIDE)
    assert shape_range(frame, 1) == ((1, 3, 32, 32), (1, 3, 96, 160), (1, 3, 320, 320))


def test_names_are_ordered_by_their_numbers() -> None:
    names = [f"output{index}" for index in range(23)]
    assert in_order(sorted(names)) == names
    with pytest.raises(EngineError, match="expected tensors with a number, found 'heat'"):
        in_order(["output1", "heat"])


@pytest.mark.skipif(why_not("tensorrt") is not None, reason=str(why_not("tensorrt")))
def test_on_a_real_gpu(own_cache: Path) -> None:
    made = load_network()
    inputs = network_inputs(made.config)
    engine, reference = compiled(made, inputs, engine="tensorrt"), TorchEngine(made)
    for batch in (1, 5, 16, 17):
        given = examples(inputs, batch)
        assert drift(engine(*given), reference(*given)) < 5e-2
    assert len(builds(own_cache)) == 1 and gpus.driver_version() != "none"
