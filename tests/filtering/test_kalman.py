"""The constant-velocity Kalman filter against the textbook, on SO(3), and in trouble."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from kinestream.filtering.base import PersonState
from kinestream.filtering.error_state import difference, mean_of, move
from kinestream.filtering.gating import OPEN_GATE, Gate
from kinestream.filtering.kalman import KalmanFilter, KalmanSettings
from kinestream.geometry.rotation import geodesic_distance, matrix_from_quat, quat_from_axis_angle

SECOND = 1_000_000_000
SIZE = 4


def person(z: float = 0.0, *, place: float = 0.0, turn: float = 0.0, std: float = 0.1) -> PersonState:
    return PersonState(
        z=np.full(SIZE, z, np.float32),
        z_std=np.full(SIZE, std, np.float32),
        root_quat_wxyz=quat_from_axis_angle(np.array([0.0, turn, 0.0], np.float32)),
        root_std_rad=std,
        translation_m=np.array([place, 0, 3], np.float32),
        translation_std_m=np.full(3, std, np.float32),
        betas=np.zeros(10, np.float32),
        betas_std=np.ones(10, np.float32),
    )


def textbook(times: list[float], seen: list[float], variance: float, density: float) -> tuple[float, float]:
    """Mean and variance of a constant-velocity filter in matrix form."""
    mean, cov = np.array([seen[0], 0.0]), np.diag([variance, 4.0])
    for before, now, value in zip(times[:-1], times[1:], seen[1:], strict=True):
        dt = now - before
        step = np.array([[1.0, dt], [0.0, 1.0]])
        mean = step @ mean
        cov = step @ cov @ step.T + density * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        gain = cov[:, 0] / (cov[0, 0] + variance)
        mean = mean + gain * (value - mean[0])
        cov = cov - np.outer(gain, cov[0])
    return float(mean[0]), float(cov[0, 0])


def test_it_is_the_textbook_filter() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.1, 40)).tolist()
    seen = rng.normal(0, 0.3, 40).tolist()
    kalman = KalmanFilter(KalmanSettings(latent=7.0, inflation=1.5, repeated=0.0), gate=OPEN_GATE)
    for time, value in zip(times, seen, strict=True):
        state = kalman.update(round(time * SECOND), person(value))
    mean, variance = textbook(times, seen, 0.01 * 1.5, 7.0)
    assert state.z == pytest.approx(np.full(SIZE, mean), abs=1e-4)
    assert state.z_std == pytest.approx(np.full(SIZE, variance**0.5), rel=1e-3)


@pytest.mark.parametrize("rate", [15.0, 60.0])
def test_steady_motion_is_followed_without_lag(rate: float) -> None:
    kalman = KalmanFilter()
    for k in range(int(3 * rate)):
        t = k / rate
        state = kalman.update(round(t * SECOND), person(0.8 * t, place=1.1 * t, turn=2.0 * t))
    assert state.z == pytest.approx(np.full(SIZE, 0.8 * t), abs=0.01)
    assert state.translation_m[0] == pytest.approx(1.1 * t, abs=0.01)
    wanted = matrix_from_quat(quat_from_axis_angle(np.array([0, 2.0 * t, 0], np.float32)))
    assert geodesic_distance(matrix_from_quat(state.root_quat_wxyz), wanted) < 0.02
    ahead = kalman.predict(round((t + 0.2) * SECOND))
    assert ahead.translation_m[0] == pytest.approx(1.1 * (t + 0.2), abs=0.02)


def test_uncertainty_grows_through_a_gap_until_the_person_is_lost() -> None:
    kalman = KalmanFilter()
    for k in range(30):
        kalman.update(k * SECOND // 30, person())
    stds = [float(kalman.predict(SECOND + lead * SECOND // 10).translation_std_m[0]) for lead in range(30)]
    assert np.all(np.diff(stds) > 0)
    assert not kalman.lost(SECOND) and kalman.lost(30 * SECOND)


def test_a_swapped_person_is_gated_and_a_stubborn_one_accepted() -> None:
    kalman = KalmanFilter(gate=Gate(timeout_s=0.2, timeout_count=3))
    for k in range(30):
        kalman.update(k * SECOND // 30, person())
    outcomes = []
    for k in range(30, 42):
        state = kalman.update(k * SECOND // 30, person(turn=np.pi))
        outcomes.append(kalman.outcome)
        if k == 30:
            assert abs(state.root_quat_wxyz[0]) > 0.99
    assert outcomes[0] == "gated" and "restarted" in outcomes
    assert set(outcomes[outcomes.index("restarted") + 1 :]) == {"fused"}
    assert abs(state.root_quat_wxyz[0]) < 0.05


@pytest.mark.parametrize("field", ["z", "z_std", "root_quat_wxyz", "translation_m", "betas"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(field: str, bad: float, caplog: pytest.LogCaptureFixture) -> None:
    kalman = KalmanFilter()
    kalman.update(0, person())
    good = person(0.5)
    broken = getattr(good, field).copy()
    broken[1] = bad
    expected = kalman.predict(SECOND // 30)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            state = kalman.update(SECOND // 30, replace(good, **{field: broken}))
    assert kalman.outcome == "invalid" and len(caplog.records) == 1
    np.testing.assert_array_equal(state.z, expected.z)
    with pytest.raises(ValueError, match="finite first observation"):
        KalmanFilter().update(0, replace(good, **{field: broken}))


def test_error_states_round_trip() -> None:
    start, end = mean_of(person(0.2, turn=0.3)), mean_of(person(-1.0, place=2.0, turn=2.9))
    again = difference(end, move(start, difference(end, start)))
    assert np.abs(again).max() < 1e-5


def test_settings_must_be_positive() -> None:
    with pytest.raises(ValueError, match="expected positive"):
        KalmanSettings(latent=0.0)
    with pytest.raises(RuntimeError, match="no update"):
        KalmanFilter().predict(0)
