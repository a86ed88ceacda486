"""The filter benchmark: metrics on signals whose answer is known, scenes, searches and bars."""

from functools import partial

import numpy as np
import pytest
import torch

from kinestream.filtering.gating import OPEN_GATE
from kinestream.filtering.interpolation import InterpolationFilter
from kinestream.filtering.kalman import KalmanFilter
from kinestream.filtering.one_euro import OneEuroFilter, OneEuroSettings
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.tools.bench.filter import runs as filter_runs
from kinestream.tools.bench.filter import tuning as filter_tuning
from kinestream.tools.bench.filter.checks import LEARNED, checks, half_rate_difference, lag_at_jitter
from kinestream.tools.bench.timing import finite
from kinestream.tools.metrics import motion as metrics
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.dynamics.clips import LatentClips
from kinestream.trainer.dynamics.noise import DROPOUTS, WHITE

TIMES = np.cumsum(np.random.default_rng(0).uniform(0.8, 1.2, 240)) / 30


def swinging(times: np.ndarray, hertz: float = 0.7) -> np.ndarray:
    phase = 2 * np.pi * hertz * times[:, None, None]
    return 0.1 * np.sin(phase + np.arange(6).reshape(1, 2, 3))


@pytest.fixture(scope="module")
def decoder() -> FlowDecoder:
    torch.manual_seed(0)
    return FlowDecoder(PoseFlow(FlowConfig(depth=1, hidden=8)).eval())


@pytest.fixture(scope="module")
def clips(decoder: FlowDecoder) -> LatentClips:
    torch.manual_seed(0)
    flow = PoseFlow(FlowConfig(depth=1, hidden=8)).eval()
    made = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        t = np.arange(300)[:, None, None] / 60
        swing = 0.4 * rng.standard_normal((22, 3)) * np.sin(2 * np.pi * rng.uniform(0.3, 1.0, (22, 1)) * t)
        place = np.stack([t[:, 0, 0], 0 * t[:, 0, 0], 0 * t[:, 0, 0]], -1)
        made.append(MotionClip(f"{seed}", matrix_from_axis_angle(swing), place, 60.0))
    return LatentClips(made, flow)


# ------------------------------------------------------------------ metrics


@pytest.mark.parametrize("delay_s", [-0.05, 0.0, 0.037, 0.14])
def test_lag_finds_a_delay(delay_s: float) -> None:
    stream = (TIMES, swinging(TIMES - delay_s), swinging(TIMES))
    assert metrics.lag_ms([stream, stream]) == pytest.approx(1e3 * delay_s, abs=2.0)


def test_lag_is_not_fooled_by_noise_and_says_when_it_cannot_tell() -> None:
    noisy = swinging(TIMES - 0.1) + 0.03 * np.random.default_rng(1).standard_normal((240, 2, 3))
    assert metrics.lag_ms([(TIMES, noisy, swinging(TIMES))]) == pytest.approx(100, abs=8)
    short = TIMES[:20]
    assert np.isnan(metrics.lag_ms([(short, swinging(short), swinging(short))]))


def test_constant_acceleration_has_no_jitter_and_its_error_is_seen() -> None:
    path = np.tile((0.5 * 3.0 * TIMES**2)[:, None, None], (1, 2, 3))
    assert metrics.jitter(TIMES, path) == pytest.approx(0.0, abs=1e-6)
    still = np.zeros_like(path)
    assert metrics.acceleration_error(TIMES, path, still) == pytest.approx(3.0 * 3**0.5, rel=1e-6)
    assert metrics.acceleration_error(TIMES, path + 0.2, path) == pytest.approx(0.0, abs=1e-6)


def test_only_what_is_faster_than_ten_hertz_counts() -> None:
    even = np.arange(300) / 60
    slow, fast = swinging(even, 2.0), swinging(even, 15.0)
    assert metrics.high_frequency_mm(even, slow) < 0.1
    assert metrics.high_frequency_mm(even, slow + fast) == pytest.approx(100 / 2**0.5, rel=0.05)
    assert np.isnan(metrics.high_frequency_mm(even[::5], slow[::5]))


def test_error_and_intervals() -> None:
    assert metrics.mpjpe_mm(np.full((4, 2, 3), 0.01), np.zeros((4, 2, 3))) == pytest.approx(10 * 3**0.5)
    error = np.random.default_rng(0).standard_normal(50000)
    assert metrics.coverage(error, np.ones(50000)) == pytest.approx(0.9, abs=0.005)
    right, wrong = (metrics.gaussian_nll(error, np.full(50000, std)) for std in (1.0, 1.5))
    assert right < wrong and right == pytest.approx(0.5 * np.log(2 * np.pi * np.e), abs=0.02)


# ------------------------------------------------------------------ scenes and scores


def test_scenes_repeat_and_are_thinned_in_step(clips: LatentClips, decoder: FlowDecoder) -> None:
    one, two = (filter_runs.simulate(clips, decoder, fps=30, noise=DROPOUTS, seed=3) for _ in range(2))
    assert len(one) == 2
    np.testing.assert_array_equal(one[0].joints_m, two[0].joints_m)
    assert [o is None for o in one[0].observed] == [o is None for o in two[0].observed]
    assert 0.03 < np.mean([o is None for scene in one for o in scene.observed]) < 0.4
    thin = one[0].thinned(2)
    np.testing.assert_array_equal(thin.joints_m, one[0].joints_m[::2])
    assert thin.observed == one[0].observed[::2]


def test_scores_tell_the_filters_apart(clips: LatentClips, decoder: FlowDecoder) -> None:
    scenes = filter_runs.simulate(clips, decoder, fps=30, noise=WHITE)
    smooth = partial(OneEuroFilter, latent=OneEuroSettings(1.0), root=OneEuroSettings(1.0))
    scores = {
        name: filter_runs.score(decoder, scenes, [filter_runs.run(make, scene) for scene in scenes])
        for name, make in (("none", Unfiltered), ("late", InterpolationFilter), ("smooth", smooth))
    }
    assert scores["none"]["lag_ms"] == pytest.approx(0, abs=8)
    assert scores["late"]["lag_ms"] == pytest.approx(140, abs=12)
    assert scores["smooth"]["lag_ms"] > 40
    assert scores["none"]["jitter_100m_s3"] > 3 * scores["smooth"]["jitter_100m_s3"]
    assert scores["none"]["coverage_90"] == pytest.approx(0.9, abs=0.03)
    assert all(row["update_us_p50"] > 0 for row in scores.values())


def test_forecasts_of_steady_motion_beat_holding(clips: LatentClips, decoder: FlowDecoder) -> None:
    scenes = filter_runs.simulate(clips, decoder, fps=30, noise=WHITE.scaled(0.02))
    tracks = [filter_runs.run(KalmanFilter, scene, leads_s=(0.05, 0.3)) for scene in scenes]
    table = filter_runs.score_forecasts(decoder, scenes, tracks)
    assert set(table) == {"50", "300"}
    for row in table.values():
        assert row["camera_mpjpe_mm"] < row["held_camera_mpjpe_mm"]
    assert table["50"]["mpjpe_mm"] < table["300"]["mpjpe_mm"]


def test_the_search_takes_the_best_of_each_stage(clips: LatentClips, decoder: FlowDecoder) -> None:
    scenes = filter_runs.simulate(clips, decoder, fps=30, noise=WHITE)
    stage = [
        lambda options: {**options, "latent": OneEuroSettings(0.1)},
        lambda options: {**options, "latent": OneEuroSettings(2.0)},
        lambda options: {**options, "latent": OneEuroSettings(50.0)},
    ]
    best = filter_tuning.tune(filter_tuning.one_euro, [(None, stage)], "mpjpe_mm", scenes, decoder)
    assert best["latent"].min_cutoff_hz == 2.0


def test_half_rate_difference_of_no_filter_is_nothing(clips: LatentClips, decoder: FlowDecoder) -> None:
    scenes = filter_runs.simulate(clips, decoder, fps=60, noise=WHITE)
    found = half_rate_difference(Unfiltered, scenes, decoder)
    assert found["rms_std"] == pytest.approx(0.0, abs=1e-6)
    assert found["difference_mm"] == pytest.approx(0.0, abs=1e-6)


# ------------------------------------------------------------------ bars


def test_lag_at_jitter_interpolates() -> None:
    curve = [{"jitter_100m_s3": 1.0, "lag_ms": 80.0}, {"jitter_100m_s3": 3.0, "lag_ms": 20.0}]
    assert lag_at_jitter(curve, 2.0) == pytest.approx(50.0)
    assert lag_at_jitter(curve, 9.0) == pytest.approx(20.0)


def test_reports_hold_no_numbers_that_json_does_not_know() -> None:
    content = {"a": [1.0, float("nan")], "gate": OPEN_GATE, "b": {"c": (float("inf"), "x", 3)}}
    plain = finite(content)
    assert plain["a"] == [1.0, None] and plain["b"] == {"c": [None, "x", 3]}
    assert plain["gate"]["latent"] is None and plain["gate"]["timeout_count"] == 3


def report(good: float, lead_coverage: float) -> dict[str, object]:
    def row(value: float) -> dict[str, float]:
        keys = ("mpjpe_mm", "camera_mpjpe_mm", "acceleration_error_m_s2", "jitter_100m_s3", "lag_ms")
        return {**dict.fromkeys(keys, value), "update_us_p50": 100.0}

    def ahead(value: float) -> dict[str, dict[str, float]]:
        keys = ("mpjpe_mm", "camera_mpjpe_mm", "held_mpjpe_mm", "held_camera_mpjpe_mm")
        return {
            str(lead): {**dict.fromkeys(keys, value), "coverage_90": lead_coverage}
            for lead in range(50, 301, 50)
        }

    main = {name: row(100.0) for name in ("none", "one-euro (error)", "one-euro (acceleration)")}
    main.update(dict.fromkeys(LEARNED, row(good)))
    table = {"none": ahead(100.0), "kalman (error)": ahead(100.0), "learned": ahead(good)}
    return {
        "tables": {"realistic, 30 Hz": main},
        "forecasts": {"realistic, 30 Hz": table, "clean, 30 Hz": table},
        "curves": {"learned": [row(good)]},
        "half_rate": {"rms_std": good / 100},
        "weights_bytes": int(good * 1e4),
    }


def test_bars_are_met_by_a_good_filter_and_missed_by_a_bad_one() -> None:
    assert all(check["met"] for check in checks(**report(40.0, 0.9)))  # type: ignore[arg-type]
    missed = [check for check in checks(**report(400.0, 0.5)) if not check["met"]]  # type: ignore[arg-type]
    assert len(missed) == len(checks(**report(400.0, 0.5))) - 1  # type: ignore[arg-type]
