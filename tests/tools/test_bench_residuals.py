"""The measured noise model: what was simulated is found again, and training and benchmark read the report."""

from dataclasses import replace

import numpy as np
import pytest

from tools.bench.filter import conditions
from tools.bench.residual_statistics import Residuals, measure
from tools.bench.timing import write_report
from tracker.latent.filtering.root import Mean, difference, unit
from trainer.data.latent_clips import Trajectory
from trainer.data.latent_noise import WHITE, NoiseModel, observe
from trainer.latent_rollout import random_noise

FPS, LATENT = 30.0, 20


def simulated(noise: NoiseModel, *, clips: int = 24, frames: int = 120) -> list[Residuals]:
    """Residuals of observations with this noise of people who stand still."""
    rng = np.random.default_rng(3)
    times = np.tile(np.arange(frames) / FPS, (clips, 1))
    z = np.repeat(rng.standard_normal((clips, 1, LATENT)), frames, 1).astype(np.float32)
    root = np.broadcast_to(np.array([1, 0, 0, 0], np.float32), (clips, frames, 4))
    place = np.broadcast_to(np.array([0, 0, 3], np.float32), (clips, frames, 3))
    seen = observe(Trajectory(z, -z, root, place), times, noise, rng)
    found = []
    for b in range(clips):
        error = [
            difference(
                Mean(seen.z[b, t], unit(tuple(seen.root_quat_wxyz[b, t].tolist())), seen.translation_m[b, t]),
                Mean(z[b, t], (1.0, 0.0, 0.0, 0.0), place[b, t]),
            )
            for t in range(frames)
        ]
        found.append(Residuals(1 / FPS, np.stack(error), seen.std[b], seen.missing[b]))
    return found


def test_noise_that_was_simulated_is_found_again() -> None:
    noise = NoiseModel(
        z_std=0.4, root_std_rad=0.1, translation_std_m=0.02, depth_ratio=2.5, correlated_share=0.7,
        correlation_s=0.25, spread=0.2, report_error=0.0, outlier_rate=0.03, swap_rate=0.03,
        dropout_rate=0.1, burst_s=0.15,
    )  # fmt: skip
    found = measure(simulated(noise)).noise
    for name in ("z_std", "root_std_rad", "translation_std_m", "depth_ratio"):
        assert getattr(found, name) == pytest.approx(getattr(noise, name), rel=0.12), name
    assert found.correlated_share == pytest.approx(0.7, abs=0.08)
    assert found.correlation_s == pytest.approx(0.25, rel=0.35)
    assert found.spread == pytest.approx(0.2, abs=0.05)
    assert found.report_error < 0.1
    assert found.swap_rate == pytest.approx(0.03, abs=0.02)
    assert found.outlier_rate == pytest.approx(0.03, abs=0.025)
    assert found.dropout_rate == pytest.approx(0.1, abs=0.04)
    assert found.burst_s == pytest.approx(0.15, rel=0.4)


def test_white_noise_has_no_correlation_and_wrong_reports_are_noticed() -> None:
    clips = [replace(clip, std=0.5 * clip.std) for clip in simulated(WHITE)]
    found = measure(clips)
    assert found.noise.correlated_share < 0.1
    assert found.noise.report_error == pytest.approx(np.log(2), abs=0.05)
    for row in found.groups.values():
        assert row["reported_over_actual"] == pytest.approx(0.5, abs=0.05)
        assert row["coverage_90"] < 0.75
        assert row["constant_share"] < 0.05


def test_what_cannot_be_measured_is_refused() -> None:
    clips = simulated(WHITE, clips=2, frames=10)
    with pytest.raises(ValueError, match="one rate"):
        measure([clips[0], replace(clips[1], period_s=1 / 25)])
    with pytest.raises(ValueError, match="no frame"):
        measure([replace(clip, missing=np.ones(10, bool)) for clip in clips])


def test_training_and_the_filter_benchmark_read_the_report(tmp_path) -> None:
    path = tmp_path / "residuals.json"
    write_report(path, "residuals", measure(simulated(NoiseModel(z_std=2.0), clips=6)).report())
    fps, noise = conditions(path)["measured, 30 Hz"]
    assert fps == 30.0 and noise.z_std == pytest.approx(2.0, rel=0.15)
    drawn = random_noise(200, np.random.default_rng(0), noise)
    assert np.median(drawn.z_std[::2]) == pytest.approx(noise.z_std, rel=0.15)
    assert drawn.z_std[1::2].max() < 0.81
    for name in ("outlier_rate", "swap_rate", "dropout_rate", "correlated_share"):
        assert 0 <= getattr(drawn, name).min() and getattr(drawn, name).max() < 1
