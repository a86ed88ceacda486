"""OpenVINO: torch's numbers in float32, near them in bfloat16; refused with a reason where it cannot run."""

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinestream.capture import open_source
from kinestream.defaults import ASSETS
from kinestream.engines import openvino, openvino_bf16
from kinestream.engines.engine import (
    EngineError,
    NetworkInput,
    compile_network,
    drift,
    why_not,
)
from kinestream.engines.torch import TorchEngine
from kinestream.geometry.camera import Camera
from kinestream.networks.interface import RegressorConfig
from kinestream.regress.regressor import Regressor, network_inputs
from tests.engines.small_networks import (
    CONFIG,
    assert_equal_to_torch_at_every_batch,
    compiled,
    network_of,
    small_detector,
    small_regressor,
)

needs_openvino = pytest.mark.skipif(why_not("openvino") is not None, reason=str(why_not("openvino")))
needs_bf16 = pytest.mark.skipif(why_not("openvino-bf16") is not None, reason=str(why_not("openvino-bf16")))
pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")


@needs_openvino
@pytest.mark.parametrize("config", [CONFIG, RegressorConfig(latent_size=7, backbone="tiny", crop_px=96)])
def test_it_equals_torch_at_every_batch(config: RegressorConfig) -> None:
    made, inputs = small_regressor(config=config), network_inputs(config)
    engine = compiled(made, inputs, engine="openvino")
    assert (engine.name, engine.precision) == ("openvino", "float32") and "1 thread" in engine.detail
    assert_equal_to_torch_at_every_batch(engine, made)


@needs_openvino
def test_it_runs_the_detector_at_every_frame_shape_and_keeps_results() -> None:
    made = small_detector()
    rng = np.random.default_rng(0)
    frame = NetworkInput(rng.integers(0, 256, (1, 3, 96, 64), np.uint8), (0, 2, 3))
    engine = compiled(made, (frame,), engine="openvino")
    kept = []
    for height, width in ((192, 320), (320, 192), (64, 32), (64, 32)):
        images = rng.integers(0, 256, (1, 3, height, width), np.uint8)
        kept.append((engine(images), TorchEngine(made)(images)))
    for found, expected in kept:  # the next call leaves them alone
        assert drift(found, expected) < 1e-4


@needs_openvino
def test_the_second_start_reads_the_cache(own_cache: Path) -> None:
    network = network_of(small_regressor(), network_inputs(CONFIG))
    compile_network(network, engine="openvino")
    (path,) = own_cache.glob("*.openvino.engine")
    unmade = dataclasses.replace(network, make=None)  # type: ignore[arg-type]  # not asked for again
    assert compile_network(unmade, engine="openvino").name == "openvino"
    path.write_bytes(path.read_bytes()[:-100])
    assert compile_network(network, engine="openvino").name == "openvino"


@needs_openvino
def test_a_signal_after_an_engine_is_gone_reaches_its_handler() -> None:
    script = """
import os, signal, threading
from kinestream.regress.regressor import Regressor
tracker = [Regressor.load(engine="openvino")]
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
thread = threading.Thread(target=tracker.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@needs_bf16
def test_bfloat16_sees_the_same_person_in_the_embedded_clip() -> None:
    with open_source(ASSETS / "demo.mp4") as source:
        image = next(iter(source)).image_rgb
    camera = Camera.from_fov(image.shape[1], image.shape[0])
    boxes = np.load(ASSETS / "demo.npz")["keypoints_px"][0]
    box = [*boxes[:, :2].min(0), *boxes[:, :2].max(0)]
    half, whole = (Regressor.load(engine=name)(image, [box], camera) for name in ("openvino-bf16", "torch"))
    apart = np.linalg.norm(half.keypoints_px[0, :, :2] - whole.keypoints_px[0, :, :2], axis=1)
    assert 0 < np.median(apart) < 0.01 * (box[3] - box[1])
    assert np.abs(half.z - whole.z).mean() < 0.05 and abs(half.presence[0] - whole.presence[0]) < 0.02


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name in ("openvino", "openvino-bf16"):
        with pytest.raises(EngineError, match=rf"engine {name}: needs OpenVINO.*kinestream\[openvino\]"):
            compiled(small_regressor(), network_inputs(CONFIG), engine=name)


def test_a_processor_without_bfloat16_is_told_what_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_bf16, "bfloat16_here", lambda name: False)
    assert "--engine openvino needs none" in str(why_not("openvino-bf16"))


@needs_openvino
def test_auto_keeps_the_numbers_that_every_computer_gives(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert compiled(small_regressor(), network_inputs(CONFIG)).name in ("cpu", "torch")


@needs_openvino
def test_a_valid_checksum_around_nonsense_is_made_anew(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = network_of(small_regressor(), network_inputs(CONFIG))
    monkeypatch.setattr(openvino.engine_cache, "load", lambda name: b"not a model")
    assert compile_network(network, engine="openvino").name == "openvino"
    assert "cannot read the network" in caplog.text
