"""Engines: the same numbers as torch, from a cache that is never trusted blindly, chosen with a reason."""

import dataclasses
import json
import logging
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from kinestream.engines import cache as engine_cache
from kinestream.engines import cpu
from kinestream.engines.engine import (
    ENGINES,
    EngineError,
    NetworkInput,
    build_key,
    check,
    compile_network,
    drift,
    examples,
    flatten,
    rebuild,
    why_not,
)
from kinestream.engines.torch import TorchEngine
from kinestream.geometry.camera import Camera
from kinestream.networks.interface import RegressorConfig, RegressorOutput
from kinestream.regress.regressor import Regressor, network_inputs
from tests.engines.small_networks import (
    CONFIG,
    assert_equal_to_torch_at_every_batch,
    compiled,
    network_of,
    small_detector,
    small_regressor,
)

needs_onnxruntime = pytest.mark.skipif(why_not("cpu") is not None, reason="ONNX Runtime is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINESTREAM_CACHE", str(tmp_path / "cache"))
    for module in ("kernels.caching", "engines.cache"):  # not what the user of this computer has
        monkeypatch.setattr(
            f"kinestream.{module}.cache_places", lambda: iter([Path(os.environ["KINESTREAM_CACHE"])])
        )


def builds(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("*.engine"))


@needs_onnxruntime
@pytest.mark.parametrize("config", [CONFIG, RegressorConfig(latent_size=7, backbone="tiny", crop_px=96)])
def test_cpu_equals_torch_at_every_batch(config: RegressorConfig) -> None:
    made, inputs = small_regressor(config=config), network_inputs(config)
    engine = compiled(made, inputs, engine="cpu")
    assert engine.name == "cpu" and "ONNX Runtime" in engine.detail
    assert_equal_to_torch_at_every_batch(engine, made)


@needs_onnxruntime
def test_two_halves_of_a_batch_are_the_whole() -> None:
    made, inputs = small_regressor(), network_inputs(CONFIG)
    whole = compiled(made, inputs, engine="cpu")
    cpu.run_halves_beside_each_other(True)
    try:
        halves = compiled(made, inputs, engine="cpu")
    finally:
        cpu.run_halves_beside_each_other(False)
    rng = np.random.default_rng(2)
    for batch in (1, 2, 5):
        images = rng.integers(0, 256, (batch, 3, CONFIG.crop_px, CONFIG.crop_px), np.uint8)
        arguments = (images, *examples(inputs, batch)[1:])
        assert drift(halves(*arguments), whole(*arguments)) < 1e-5


@needs_onnxruntime
def test_cpu_runs_the_detector_at_every_frame_shape() -> None:
    made = small_detector()
    rng = np.random.default_rng(0)
    frame = NetworkInput(rng.integers(0, 256, (1, 3, 96, 64), np.uint8), (0, 2, 3))
    engine = compiled(made, (frame,), engine="cpu")
    for height, width in ((192, 320), (320, 192), (64, 32)):
        images = rng.integers(0, 256, (1, 3, height, width), np.uint8)
        assert drift(engine(images), TorchEngine(made)(images)) < 1e-4


@needs_onnxruntime
def test_the_regressor_sees_the_same_with_both_engines() -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    camera, boxes = Camera.from_fov(320, 240), [(10, 10, 90, 200), (100, 50, 180, 230)]
    fast, plain = (Regressor.load(engine=name) for name in ("cpu", "torch"))
    assert (fast.engine, plain.engine) == ("cpu", "torch")
    found, expected = fast(image, boxes, camera), plain(image, boxes, camera)
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-3, atol=1e-3, err_msg=name)


@needs_onnxruntime
def test_the_second_start_reads_the_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    compiled(small_regressor(), network_inputs(CONFIG), engine="cpu")
    assert "preparing the cpu engine" in caplog.text and "built the cpu engine" in caplog.text
    assert len(builds(tmp_path)) == 1
    caplog.clear()
    compiled(small_regressor(), network_inputs(CONFIG), engine="cpu")
    assert "built" not in caplog.text and len(builds(tmp_path)) == 1


@needs_onnxruntime
def test_a_build_is_compared_once_and_says_with_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(small_regressor(), network_inputs(CONFIG))
    compile_network(network, engine="cpu")
    (path,) = builds(tmp_path)
    record = json.loads(engine_cache.load(path.name).partition(b"\n")[0])
    assert record["key"] == path.name.split(".")[0] and 0 < record["drift"] < 1e-4
    assert record["processor"] and {"onnxruntime", "torch"} <= set(record)
    monkeypatch.setattr(cpu, "check", None)
    unmade = dataclasses.replace(network, make=None)  # type: ignore[arg-type]  # neither is asked for again
    assert compile_network(unmade, engine="cpu").name == "cpu"


@needs_onnxruntime
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "stranger"])
def test_a_damaged_build_is_made_anew(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made, inputs = small_regressor(), network_inputs(CONFIG)
    compiled(made, inputs, engine="cpu")
    (path,) = builds(tmp_path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(
        {"cut": whole[:-100], "flipped": bytes(flipped), "empty": b"", "stranger": b"x" * 99}[damage]
    )
    engine = compiled(made, inputs, engine="cpu")
    assert "damaged; building anew" in caplog.text
    assert drift(engine(*examples(inputs, 2)), TorchEngine(made)(*examples(inputs, 2))) < 1e-4
    assert path.read_bytes()[:20] == whole[:20]


@needs_onnxruntime
def test_a_stale_build_is_noticed_by_its_results(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inputs = network_inputs(CONFIG)
    compiled(small_regressor(1), inputs, engine="cpu")
    (old,) = builds(tmp_path)
    made = small_regressor(2)
    compiled(made, inputs, engine="cpu")
    (new,) = [path for path in builds(tmp_path) if path != old]
    new.write_bytes(old.read_bytes())  # other weights under this name, with a good checksum
    engine = compiled(made, inputs, engine="cpu")
    assert "does not fit" in caplog.text
    assert drift(engine(*examples(inputs, 1)), TorchEngine(made)(*examples(inputs, 1))) < 1e-4


@needs_onnxruntime
def test_a_valid_checksum_around_nonsense_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, inputs = small_regressor(), network_inputs(CONFIG)
    compiled(made, inputs, engine="cpu")
    (path,) = builds(tmp_path)
    engine_cache.store(path.name, b"not a graph")
    compiled(made, inputs, engine="cpu")
    assert "does not fit" in caplog.text and "cannot read the network" in caplog.text


@needs_onnxruntime
def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KINESTREAM_CACHE", str(tmp_path / "file"))
    assert compiled(small_regressor(), network_inputs(CONFIG), engine="cpu").name == "cpu"
    assert "KINESTREAM_CACHE" in caplog.text


def test_the_oldest_builds_go(tmp_path: Path) -> None:
    for index in range(engine_cache.KEPT + 3):
        engine_cache.store(f"{index}.engine", bytes([index]))
    assert len(builds(tmp_path)) == engine_cache.KEPT
    assert engine_cache.load(f"{engine_cache.KEPT + 2}.engine") == bytes([engine_cache.KEPT + 2])
    assert engine_cache.load("0.engine") is None


def test_the_key_changes_with_all_that_matters() -> None:
    inputs = network_inputs(CONFIG)
    key = build_key(network_of(small_regressor(), inputs), library="1")
    assert key == build_key(network_of(small_regressor(), inputs), library="1")
    other = small_regressor()
    other.confidence_head.presence.bias += 1e-6
    free = (NetworkInput(inputs[0].example, (0, 2)), *inputs[1:])
    changed = [
        build_key(network_of(other, inputs), library="1"),
        build_key(network_of(small_regressor(), inputs), library="2"),
        build_key(network_of(small_regressor(), inputs), library="1", gpu="another"),
        build_key(network_of(small_regressor(), free), library="1"),
    ]
    assert len({key, *changed}) == 5


def test_without_the_library_auto_takes_torch_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine = compiled(small_regressor(), network_inputs(CONFIG))
    assert engine.name == "torch"
    assert "needs ONNX Runtime" in caplog.text and "no faster one" in caplog.text
    with pytest.raises(EngineError, match=r"pip install onnxruntime"):
        compiled(small_regressor(), network_inputs(CONFIG), engine="cpu")


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ValueError, match="expected one of auto.*found 'warp'"):
        compiled(small_regressor(), network_inputs(CONFIG), engine="warp")


def test_the_commands_and_the_readme_name_every_engine() -> None:
    from typer.testing import CliRunner

    from kinestream.tools.cli import app

    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "240"}).output
    (option,) = [line for line in shown.splitlines() if "--engine" in line]
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name in ENGINES:
        assert re.search(rf"\b{name}\b", option) and re.search(rf"`(--engine )?{name}`", readme), name


def test_check_refuses_wrong_results() -> None:
    inputs = network_inputs(CONFIG)
    right, wrong = TorchEngine(small_regressor(0)), TorchEngine(small_regressor(3))
    check(right, right, inputs)
    with pytest.raises(EngineError, match="differ from torch"):
        check(wrong, right, inputs)


def test_drift_is_relative_to_the_largest_value() -> None:
    value = np.float32([1, -2, 1])
    assert drift(value * 1.5, value) == 0.5


def test_flatten_and_rebuild_are_inverse() -> None:
    output = TorchEngine(small_regressor())(*examples(network_inputs(CONFIG), 1))
    again = rebuild(output, iter(flatten(output)))
    assert isinstance(again, RegressorOutput) and type(again.state) is type(output.state)
    assert drift(again, output) == 0.0
    assert drift(output._replace(points=output.points * float("nan")), output) == float("inf")
