"""The cuda engine on a stand-in for the device: the same numbers, recorded once, named failures."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinestream.detect.network import DetectorNetwork
from kinestream.engines import cuda_graphs as engine_graphs
from kinestream.engines import gpu as gpus
from kinestream.engines.cuda_graphs import GraphEngine
from kinestream.engines.engine import (
    EngineError,
    NetworkInput,
    NotHereError,
    drift,
    examples,
    flatten,
    why_not,
)
from kinestream.engines.torch import TorchEngine
from kinestream.networks.interface import DetectorConfig, RegressorOutput
from kinestream.regress.regressor import load_network, network_inputs
from tests.engines.small_networks import CONFIG, compiled, small_detector, small_regressor

INPUTS = network_inputs(CONFIG)
pytestmark = pytest.mark.usefixtures("own_cache", "one_thread")


def arguments(batch: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    shape = (batch, CONFIG.crop_px, CONFIG.crop_px, 3)
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return images.transpose(0, 3, 1, 2), *examples(INPUTS, batch)[1:]


def test_the_same_numbers_as_torch_at_every_batch(fake_gpu: Any) -> None:
    made = small_regressor()
    engine, reference = compiled(made, INPUTS, engine="cuda"), TorchEngine(made)
    assert engine.name == "cuda" and "Fake GPU 9000" in engine.detail
    for batch in (16, 3, 1, 2, 5, 17, 40):  # a smaller one behind a larger leaves old rows in the buffer
        found = engine(*arguments(batch, seed=batch))
        assert isinstance(found, RegressorOutput)
        assert drift(found, reference(*arguments(batch, seed=batch))) < 1e-4


def test_every_size_is_recorded_before_the_first_call(fake_gpu: Any) -> None:
    engine = compiled(small_regressor(), INPUTS, engine="cuda", max_batch=16)
    assert fake_gpu.records == 5  # 1, 2, 4, 8, 16
    replays = fake_gpu.replays
    for batch in range(1, 17):
        engine(*arguments(batch))
    assert fake_gpu.records == 5 and fake_gpu.replays == replays + 16


def test_results_hold_when_later_ones_come(fake_gpu: Any) -> None:
    engine = compiled(small_regressor(), INPUTS, engine="cuda")
    first = engine(*arguments(3, seed=1))
    kept = [leaf.copy() for leaf in flatten(first)]
    engine(*arguments(3, seed=2))
    engine(*arguments(1, seed=3))
    assert all(np.array_equal(a, b) for a, b in zip(flatten(first), kept, strict=True))


def test_values_of_another_type_are_not_squeezed_into_the_buffer(fake_gpu: Any) -> None:
    made = small_regressor()
    engine = compiled(made, INPUTS, engine="cuda")
    images, *others = arguments(2)
    fractions = images.astype(np.float32) * np.float32(0.5) + 0.25
    assert drift(engine(fractions, *others), TorchEngine(made)(fractions, *others)) < 1e-4


def test_frames_of_every_shape_and_no_more_recordings_than_allowed(
    fake_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_graphs, "KEPT", 3)
    made = small_detector()
    rng = np.random.default_rng(0)
    frame = NetworkInput(rng.integers(0, 256, (1, 3, 96, 64), np.uint8), (0, 2, 3))
    engine = compiled(made, (frame,), engine="cuda")
    reference = TorchEngine(made)
    shapes = [(64, 32), (32, 64), (64, 64), (96, 32), (64, 64), (64, 32)]
    for height, width in shapes:
        images = rng.integers(0, 256, (1, 3, height, width), np.uint8)
        assert drift(engine(images), reference(images)) < 1e-4
    # Batches of one and three at the start, then every shape but the (64, 64) that was still there.
    assert fake_gpu.records == 2 + len(shapes) - 1


def test_too_little_memory_is_named_and_the_next_engine_taken(
    fake_gpu: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fake_gpu.fails = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
    with pytest.raises(EngineError, match=r"not enough GPU memory .*2 GiB\).*--engine cpu"):
        compiled(small_regressor(), INPUTS, engine="cuda")
    engine = compiled(small_regressor(), INPUTS)
    assert engine.name in ("cpu", "torch")
    assert "engine cuda: not enough GPU memory" in caplog.text and f"engine {engine.name} (" in caplog.text


def test_a_gpu_that_cannot_run_the_code_is_named(fake_gpu: Any) -> None:
    fake_gpu.fails = RuntimeError("CUDA error: no kernel image is available for execution on the device\nx")
    with pytest.raises(EngineError, match=r"the GPU cannot run the network \(CUDA error: no kernel image"):
        compiled(small_regressor(), INPUTS, engine="cuda")


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_wrong_numbers_are_refused(error: float, fake_gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    fake_gpu.error = error
    with pytest.raises(EngineError, match="engine cuda: results differ from torch"):
        compiled(small_regressor(), INPUTS, engine="cuda")
    assert compiled(small_regressor(), INPUTS).name != "cuda"
    assert "results differ from torch" in caplog.text


def test_time_of_the_device(fake_gpu: Any) -> None:
    engine = compiled(small_regressor(), INPUTS, engine="cuda")
    assert isinstance(engine, GraphEngine) and engine.device_ms(*arguments(2)) == 1.25


def test_recorded_work_is_in_full_float32_whatever_the_process_chose() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with gpus.full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cudnn.enabled and not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.enabled and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(NotHereError, match="engine cuda: torch .* is built without CUDA"):
        compiled(small_regressor(), INPUTS, engine="cuda")


def test_an_old_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 470.82.01\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nUpdate it")

    monkeypatch.setattr(gpus.torch, "zeros", refuse)
    with pytest.raises(
        NotHereError, match=r"driver on your system is too old .*needs a driver for CUDA 13\.0, .*470\.82\.01"
    ):
        gpus.require("cuda")


def test_without_the_program_there_is_no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.driver_version() == "none"


def test_networks_bring_no_constants_from_the_cpu() -> None:
    """On a device such a constant would stop the recording; tensors without memory tell it without a GPU."""
    regressor = load_network()
    inputs = network_inputs(regressor.config)
    found = regressor.to("meta")(*(torch.as_tensor(value).to("meta") for value in examples(inputs, 2)))
    assert all(leaf.device.type == "meta" for leaf in flatten(found))
    detector = DetectorNetwork(DetectorConfig(backbone="tiny")).eval().to("meta")
    found = detector(torch.empty(1, 3, 96, 64, dtype=torch.uint8, device="meta"))
    assert all(leaf.device.type == "meta" for leaf in flatten(found))


@pytest.mark.skipif(why_not("cuda") is not None, reason=str(why_not("cuda")))
def test_on_a_real_gpu() -> None:
    made = load_network()
    inputs = network_inputs(made.config)
    engine, reference = compiled(made, inputs, engine="cuda"), TorchEngine(made)
    rng = np.random.default_rng(0)
    for batch in (1, 2, 5, 16, 17):
        images = rng.integers(0, 256, (batch, 3, *inputs[0].example.shape[2:]), np.uint8)
        given = (images, *examples(inputs, batch)[1:])
        assert drift(engine(*given), reference(*given)) < 1e-4
    assert isinstance(engine, GraphEngine) and engine.device_ms(*examples(inputs, 1)) > 0
