"""Figures of recorded observations whose errors are known; and the recording in the filter benchmark."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from kinestream.filtering.unfiltered import Unfiltered
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.tools.bench.filter.recorded import RECORDED, recorded_conditions
from kinestream.tools.bench.filter.residuals import main, statistics
from kinestream.tools.bench.filter.runs import run, score
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

CLIPS, FRAMES, FPS = 40, 96, 60.0


def recording(*, follows: float = 1.0, white: float = 0.0, constant: float = 0.0) -> RecordedObservations:
    """People who sway, seen with a share of their motion, an offset for each clip, and white errors."""
    rng = np.random.default_rng(0)
    times = np.arange(FRAMES)[None, :, None] / FPS
    phase = rng.uniform(0, 2 * np.pi, (CLIPS, 1, 63))
    sway = np.sin(2 * np.pi * 0.625 * times + phase)  # a whole cycle in a clip
    shape = (CLIPS, FRAMES, 63)
    seen = (
        follows * sway + constant * rng.standard_normal((CLIPS, 1, 63)) + white * rng.standard_normal(shape)
    )
    place = np.zeros((CLIPS, FRAMES, 3), np.float32) + np.float32([0, 0, 3])
    place += 0.2 * sway[..., :3].astype(np.float32)
    return RecordedObservations(
        fps=FPS,
        z=sway.astype(np.float32),
        root_quat_wxyz=about_y(0.1 * sway[..., 0]),
        translation_m=place,
        seen_z=seen.astype(np.float32),
        seen_root_quat_wxyz=about_y(0.1 * sway[..., 0] + 0.05),
        seen_translation_m=place + np.float32([0.01, 0, 0.1]),
        std=np.full((CLIPS, FRAMES, 69), 0.5, np.float32),
        missing=np.zeros((CLIPS, FRAMES), bool),
        betas=np.zeros((CLIPS, 10), np.float32),
        seen_betas=np.zeros((CLIPS, FRAMES, 10), np.float32),
        betas_std=np.ones((CLIPS, FRAMES, 10), np.float32),
        keypoints=np.zeros((CLIPS, FRAMES, 23, 3), np.float32),
        covariance=np.full((CLIPS, FRAMES, 23, 3), np.nan, np.float32),
        half_box=np.ones((CLIPS, FRAMES), np.float32),
    )


def about_y(angle: np.ndarray) -> np.ndarray:
    zero = np.zeros_like(angle)
    return np.stack([np.cos(angle / 2), zero, np.sin(angle / 2), zero], -1).astype(np.float32)


def test_an_error_that_lasts_is_told_from_one_of_every_frame() -> None:
    lasting, fresh = (statistics(recording(**kind))["latent"] for kind in ({"constant": 0.5}, {"white": 0.5}))
    for row in (lasting, fresh):
        assert row["rms"] == pytest.approx(0.5, rel=0.05)
        assert row["reported_over_actual"] == pytest.approx(1.0, rel=0.05)
        assert row["coverage_90"] == pytest.approx(0.9, abs=0.02)
        assert row["follows"] == pytest.approx(1.0, abs=0.05)
    assert lasting["constant_share"] > 0.99 and lasting["white"] < 0.01
    assert fresh["constant_share"] < 0.03 and fresh["white"] == pytest.approx(0.5, rel=0.05)
    assert lasting["seen_step"] == pytest.approx(lasting["true_step"], rel=0.01)
    assert fresh["seen_step"] == pytest.approx(0.5 * 2**0.5, rel=0.05)


def test_motion_that_is_seen_too_small_is_noticed() -> None:
    found = statistics(recording(follows=0.2))
    assert found["latent"]["follows"] == pytest.approx(0.2, abs=0.01)
    assert found["latent"]["seen_step"] == pytest.approx(0.2 * found["latent"]["true_step"], rel=0.01)
    assert found["latent"]["true_step"] == pytest.approx(2 * np.pi * 0.625 / 30 / 2**0.5, rel=0.02)
    assert found["across the view"]["rms"] == pytest.approx(0.01 / 2**0.5, rel=1e-3)
    assert found["root"]["rms"] == pytest.approx(0.05 / 3**0.5, rel=0.01)
    assert found["root"]["follows"] == pytest.approx(1.0, abs=0.01)
    assert found["along the view"]["rms"] == pytest.approx(0.1, rel=1e-3)
    assert found["along the view"]["constant_share"] == pytest.approx(1.0, abs=1e-3)


def test_missed_frames_do_not_count() -> None:
    good = recording(white=0.1)
    bad = replace(good, seen_z=good.seen_z.copy(), missing=good.missing.copy())
    bad.seen_z[:, 10] += 50
    bad.missing[:, 10] = True
    for key, value in statistics(good)["latent"].items():
        assert statistics(bad)["latent"][key] == pytest.approx(value, rel=0.05, abs=0.005), key
    with pytest.raises(ValueError, match="three seen frames"):
        statistics(replace(good, missing=np.ones_like(good.missing)))


def test_the_command_writes_the_figures(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    path, report = tmp_path / "recorded.npz", tmp_path / "residuals.json"
    recording(white=0.3).save(path)
    result = CliRunner().invoke(app, [str(path), "--out", str(report)])
    assert result.exit_code == 0, result.output
    content = json.loads(report.read_text())
    assert content["clips"] == CLIPS and content["missed_share"] == 0
    assert content["groups"]["latent"]["rms"] == pytest.approx(0.3, rel=0.05)


def test_the_filter_benchmark_sees_what_was_recorded() -> None:
    torch.manual_seed(0)
    decoder = FlowDecoder(PoseFlow(FlowConfig(depth=1, hidden=8)).eval())
    made = recording(constant=0.3)
    made.missing[2, 40] = True
    scenes = recorded_conditions(made, decoder)
    assert set(scenes) == {"recorded, 15 Hz", "recorded, 30 Hz", "recorded, 60 Hz"}
    main_scenes = scenes[RECORDED]
    assert len(main_scenes) == CLIPS and len(main_scenes[0].times_s) == FRAMES // 2
    assert [k for k, seen in enumerate(main_scenes[2].observed) if seen is None] == [20]
    np.testing.assert_array_equal(main_scenes[1].observed[7].z, made.seen_z[1, 14])
    np.testing.assert_array_equal(main_scenes[1].view(np.array([0.5])).z, made.z[1, 30:31])
    told = [run(Unfiltered, scene) for scene in main_scenes[:4]]
    assert score(decoder, main_scenes[:4], told, lag=False)["jitter_100m_s3"] < 5
    with pytest.raises(ValueError, match="a multiple of 30 fps"):
        recorded_conditions(replace(made, fps=25.0), decoder)
