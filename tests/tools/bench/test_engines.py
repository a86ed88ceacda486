"""The benchmark of engines: every one that runs here is measured; a wrong one is seen."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinestream.engines.engine import ENGINES, why_not
from kinestream.engines.torch import TorchEngine
from kinestream.networks.interface import RegressorConfig
from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT
from kinestream.tools.bench.speed import engines
from kinestream.tools.bench.speed.crops import arguments_of, noise_crops, picture_crops

CONFIG = RegressorConfig(latent_size=5, backbone="tiny", crop_px=64)


def small_network(seed: int) -> RegressorNetwork:
    torch.manual_seed(seed)
    return RegressorNetwork(CONFIG).eval().requires_grad_(False)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    save_weights(path, small_network(0), kind=REGRESSOR_FORMAT, config=CONFIG.to_dict())
    return path


def test_the_report_has_every_engine_that_runs_here(weights: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        engines.main(
            str(weights), crops=None, count=5, threads=threads, repeats=2, out=tmp_path / "engines.json"
        )
    finally:
        torch.set_num_threads(threads)
    report = json.loads((tmp_path / "engines.json").read_text())
    assert list(report["results"]) == [name for name in ENGINES[1:] if why_not(name) is None]
    assert report["results"]["torch"]["drift"] == 0.0 and report["crops_of"] == "noise"
    for found in report["results"].values():
        assert found["drift"] < {"float32": 1e-4, "float16": 5e-2, "bfloat16": 1.0}[found["precision"]]
        assert found["second"]["start_s"] >= 0 and found["second"]["peak_rss_mb"] > 50
        for batch in engines.BATCHES:
            latency = found[f"batch_{batch}"]["latency"]
            assert 0 < latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"]
            assert found[f"batch_{batch}"]["crops_per_s"] == pytest.approx(
                1000 * batch / latency["p50_ms"], rel=0.01
            )


def test_drift_tells_another_network() -> None:
    right, wrong = TorchEngine(small_network(0)), TorchEngine(small_network(1))
    found = engines.drifts({"torch": right, "same": right, "other": wrong}, noise_crops(18, CONFIG.crop_px))
    assert found["same"] == 0.0 and found["other"] > 0.01


def test_pictures_become_squares_of_their_middle(tmp_path: Path) -> None:
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 30:70] = (10, 20, 200)  # BGR
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "a.png"), picture)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (crop,) = picture_crops(tmp_path, 9, 16)
    assert crop.shape == (3, 16, 16) and crop.dtype == np.uint8
    assert (crop.transpose(1, 2, 0) == [200, 20, 10]).all()
    with pytest.raises(FileNotFoundError, match=r"found no picture \(\.jpeg"):
        picture_crops(tmp_path / "nothing", 9, 16)


def test_arguments_are_the_same_each_time() -> None:
    first, second = (arguments_of(noise_crops(3, 32)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert [tuple(a.shape) for a in first] == [(3, 3, 32, 32), (3, 3, 3), (3,)]
