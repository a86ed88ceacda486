"""The GPU's measurement, on a stand-in for the device: every figure is there, misses are told apart."""

import json
from pathlib import Path

import pytest
import torch
import typer

from kinestream.engines import gpu as gpus
from kinestream.networks.interface import RegressorConfig
from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT
from kinestream.tools.bench.speed import gpu_engines
from tests.engines.fake_gpu import FakeGpu

CONFIG = RegressorConfig(latent_size=5, backbone="tiny", crop_px=64)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    made = RegressorNetwork(CONFIG).eval()
    save_weights(path, made, kind=REGRESSOR_FORMAT, config=CONFIG.to_dict())
    return path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    made = FakeGpu()
    monkeypatch.setattr(gpus, "find", lambda engine: made)
    monkeypatch.setattr(gpus, "require", lambda engine: None)
    monkeypatch.setattr(gpu_engines, "COMPARED", 20)
    return made


def test_without_a_gpu_it_says_so(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(typer.Exit) as ended:
        gpu_engines.main(str(weights), crops=None, clip=None, repeats=2, out=Path("unwritten.json"))
    assert ended.value.exit_code == 2
    assert "no CUDA device, nothing was measured" in capsys.readouterr().err


def test_all_figures_and_the_missed_bar(
    weights: Path, gpu: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def track(clip: Path, *options: str) -> dict[str, object]:
        assert (clip.name, options) == ("clip.mp4", ("--engine", "cuda"))
        return {"fps": 199.0, "stage_ms": {"regress": {"p50": 1.5}}}

    monkeypatch.setattr(gpu_engines.speed, "track", track)
    monkeypatch.setitem(gpu_engines.BARS, "crops_per_s", 1.0)
    path = tmp_path / "gpu.json"
    with pytest.raises(typer.Exit) as ended:
        gpu_engines.main(str(weights), crops=None, clip=Path("clip.mp4"), repeats=4, out=path)
    assert ended.value.exit_code == 1
    report = json.loads(path.read_text())
    assert "not installed" in report["results"]["tensorrt"]["missing"]
    found = report["results"]["cuda"]
    assert found["device_ms_p50"] == 1.25 and found["crops"] == 20 and found["drift"] < 1e-4
    assert 0 <= found["keypoint_px_p50"] <= found["keypoint_px_p99"] <= found["keypoint_px_p100"] < 0.01
    assert report["met"] == {
        "cuda": {"device_ms_p50": True, "crops_per_s": True, "drift_float32": True, "pipeline_fps": False}
    }


def test_a_failed_pipeline_is_a_missed_bar(
    weights: Path, gpu: FakeGpu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        gpu_engines.main(
            str(weights), crops=None, clip=tmp_path / "no.mp4", repeats=1, out=tmp_path / "r.json"
        )
    report = json.loads((tmp_path / "r.json").read_text())
    assert "exit code" in report["results"]["cuda"]["pipeline"]["failed"]
    assert report["met"]["cuda"]["pipeline_fps"] is False and "MISSED" in capsys.readouterr().out
