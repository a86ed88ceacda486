"""The forecasting filter: equal to its torch form, the filter's own estimates, steady in trouble."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.filtering.base import PersonState
from kinestream.filtering.error_state import std_of
from kinestream.filtering.forecasting import SHARE, ForecastingFilter, with_forecasts
from kinestream.filtering.kalman import KalmanFilter
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.latent.dynamics import Pose, difference, move
from kinestream.latent.forecast import ForecasterConfig, MotionForecaster
from kinestream.latent.forecast_weights import DEFAULT_WEIGHTS, ForecasterWeights
from tests.filtering.test_learned import LATENT, SECOND, person, pose_of


@pytest.fixture
def random_weights(tmp_path: Path) -> tuple[MotionForecaster, ForecasterWeights]:
    torch.manual_seed(3)
    made = MotionForecaster(ForecasterConfig(latent=LATENT, hidden=16))
    with torch.no_grad():
        made.head.weight.mul_(10)
    path = tmp_path / "forecaster.safetensors"
    made.save(path)
    return MotionForecaster.load(path), ForecasterWeights.load(path)


def test_numpy_and_torch_agree(random_weights: tuple[MotionForecaster, ForecasterWeights]) -> None:
    forecaster, weights = random_weights
    rng = np.random.default_rng(0)
    quick = ForecastingFilter(Unfiltered(), weights)
    memory, t_ns, before = forecaster.begin(1), 0, person(rng)
    quick.update(t_ns, before)
    for _ in range(30):
        observed = person(rng, z=float(rng.normal()))
        gap_ns = int(rng.uniform(4e6, 2e8))
        t_ns += gap_ns
        quick.update(t_ns, observed)
        variance = torch.from_numpy(std_of(observed, floor=1e-3))[None].square()
        gap = torch.tensor([gap_ns / 1e9])
        curve, memory = forecaster.read(pose_of(before), pose_of(observed), variance, gap, memory)
        before = observed
        ahead = quick.predict(t_ns + SECOND // 5)
        wanted = forecaster.predict(pose_of(observed), curve, torch.tensor([0.2]))
        step = SHARE * difference(wanted.pose, pose_of(observed))  # the rest is what is held: no motion
        for found, part in zip(pose_of(ahead), move(pose_of(observed), step), strict=True):
            torch.testing.assert_close(found, part, atol=5e-5, rtol=1e-4)


def test_estimates_are_the_filters_own(random_weights: tuple[MotionForecaster, ForecasterWeights]) -> None:
    own, rng = KalmanFilter(), np.random.default_rng(0)
    around = with_forecasts(KalmanFilter, random_weights[1])()
    for k in range(20):
        observed, t_ns = person(rng, z=0.1 * k), k * SECOND // 30
        wanted, found = own.update(t_ns, observed), around.update(t_ns, observed)
        for name, value in vars(wanted).items():
            assert np.array_equal(getattr(found, name), value), name
            assert np.array_equal(getattr(around.predict(t_ns), name), value), name
    later, wanted = around.predict(t_ns + SECOND // 5), own.predict(t_ns + SECOND // 5)
    assert np.abs(later.z - wanted.z).max() > 0.01
    for name in ("z_std", "root_std_rad", "translation_std_m", "betas", "betas_std"):
        assert np.array_equal(getattr(later, name), getattr(wanted, name)), "deviations are the filter's"
    assert around.lost(t_ns + SECOND // 5) == own.lost(t_ns + SECOND // 5)


def test_uncertainty_only_grows_and_motion_ends(
    random_weights: tuple[MotionForecaster, ForecasterWeights],
) -> None:
    around, rng = ForecastingFilter(Unfiltered(), random_weights[1]), np.random.default_rng(0)
    for k in range(10):
        around.update(k * SECOND // 30, replace(person(rng), joint_std_share=np.full(24, 0.4, np.float32)))
    ahead = [around.predict(9 * SECOND // 30 + lead * SECOND // 10) for lead in range(30)]
    for first, second in pairwise(ahead):
        assert np.all(second.z_std >= first.z_std) and second.root_std_rad >= first.root_std_rad
        assert first.joint_std_share is not None and second.joint_std_share is not None
        assert np.all(second.joint_std_share >= first.joint_std_share)
    assert np.array_equal(ahead[11].z, ahead[29].z)
    assert not np.array_equal(ahead[5].z, ahead[6].z)


def test_stale_times_gaps_and_a_new_person(
    random_weights: tuple[MotionForecaster, ForecasterWeights],
) -> None:
    around, rng = ForecastingFilter(KalmanFilter(), random_weights[1]), np.random.default_rng(0)
    states = [person(rng, place=0.1 * k) for k in range(4)]

    def ahead(times_s: tuple[float, ...]) -> PersonState:
        for time_s, state in zip(times_s, states, strict=True):
            around.update(round(time_s * SECOND), state)
        return around.predict(round(times_s[-1] * SECOND) + SECOND // 5)

    moving = ahead((0.0, 0.1, 0.2, 0.3))
    assert not np.array_equal(moving.z, states[3].z)
    assert around.update(round(0.3 * SECOND), states[0]) is not None
    assert np.array_equal(around.predict(round(0.3 * SECOND) + SECOND // 5).z, moving.z), "a stale time"
    around.reset()
    assert np.array_equal(ahead((0.0, 0.1, 0.2, 1.5)).z, states[3].z), "after a long gap nothing is known"
    around.reset()
    assert np.array_equal(ahead((0.0, 0.1, 0.2, 0.3)).z, moving.z), "as the first time"
    with pytest.raises(ValueError, match=f"latents of {LATENT} numbers, found 9"):
        ForecastingFilter(Unfiltered(), random_weights[1]).update(0, person(latent=9))


def test_smoothness_is_the_filters(random_weights: tuple[MotionForecaster, ForecasterWeights]) -> None:
    around = ForecastingFilter(Unfiltered(), random_weights[1])
    assert around.smoothness is None
    around.smoothness = 0.5
    assert around.motion.smoothness == 0.5


def test_wild_estimates_give_finite_forecasts(
    random_weights: tuple[MotionForecaster, ForecasterWeights],
) -> None:
    around, rng = ForecastingFilter(Unfiltered(), random_weights[1]), np.random.default_rng(0)
    for k in range(30):
        around.update(k * SECOND // 120, person(rng, z=1e4 * float(rng.normal()), place=1e3 * k))
        ahead = around.predict(k * SECOND // 120 + SECOND)
        assert np.isfinite(ahead.z).all() and np.isfinite(ahead.z_std).all()


@pytest.mark.skipif(not DEFAULT_WEIGHTS.exists(), reason="the forecaster is not trained yet")
@pytest.mark.parametrize("fps", [15, 30, 60, 100])
def test_the_shipped_one_carries_on_somebody_who_slides(fps: int) -> None:
    """Behind the filter for which it was trained, and which alone lags at high rates."""
    around = ForecastingFilter(LearnedFilter())
    for k in range(2 * fps):
        around.update(k * SECOND // fps, person(latent=63, place=k / fps, noise=0.02))
    ahead = around.predict((2 * fps - 1) * SECOND // fps + 3 * SECOND // 10)
    assert ahead.translation_m[0] == pytest.approx((2 * fps - 1) / fps + 0.3, abs=0.1)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train_forecaster"):
        ForecasterWeights.load(tmp_path / "missing.safetensors")
    with pytest.raises(FileNotFoundError, match="train_forecaster"):
        MotionForecaster.load(tmp_path / "missing.safetensors")


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    made = MotionForecaster(ForecasterConfig(latent=LATENT, hidden=16))
    people = [pose_of(person(np.random.default_rng(k), z=k)) for k in range(4)]
    poses = [Pose(*(torch.cat([part] * 4) for part in pose)) for pose in people]
    memory, variance = made.begin(4), torch.full((4, LATENT + 6), 0.1)
    for before, now in pairwise(poses):
        curve, memory = made.read(before, now, variance, torch.full((4,), 0.03), memory)
    ahead = made.predict(poses[-1], curve, torch.full((4,), 0.2))
    loss = ahead.pose.z.square().mean() + ahead.variance.log().mean() + ahead.pose.translation_m.sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name
