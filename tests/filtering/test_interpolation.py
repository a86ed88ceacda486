"""Interpolation at a fixed delay: exactly late, exactly between, never beyond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream.filtering.base import PersonState
from kinestream.filtering.interpolation import DELAY_S, InterpolationFilter
from kinestream.geometry.rotation import geodesic_distance, matrix_from_quat, quat_from_axis_angle

SECOND = 1_000_000_000


def person(value: float) -> PersonState:
    return PersonState(
        z=np.full(3, value, np.float32),
        z_std=np.full(3, 0.1, np.float32),
        root_quat_wxyz=quat_from_axis_angle(np.array([0.0, 0.5 * value, 0.0], np.float32)),
        root_std_rad=0.1,
        translation_m=np.full(3, value, np.float32),
        translation_std_m=np.full(3, 0.1, np.float32),
        betas=np.full(10, value, np.float32),
        betas_std=np.ones(10, np.float32),
    )


@pytest.mark.parametrize("rate", [12.0, 30.0, 100.0])
def test_steady_motion_is_shown_exactly_so_much_later(rate: float) -> None:
    shown = InterpolationFilter()
    for k in range(int(2 * rate)):
        t = k / rate
        state = shown.update(round(t * SECOND), person(t))
    late = t - DELAY_S
    assert state.z == pytest.approx(np.full(3, late), abs=1e-4)
    assert state.betas == pytest.approx(np.full(10, late), abs=1e-4)
    wanted = matrix_from_quat(quat_from_axis_angle(np.array([0, 0.5 * late, 0], np.float32)))
    assert geodesic_distance(matrix_from_quat(state.root_quat_wxyz), wanted) < 1e-3


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=12), st.integers(0, 400))
def test_nothing_is_shown_beyond_what_was_seen(values: list[float], lead_ms: int) -> None:
    shown = InterpolationFilter()
    for k, value in enumerate(values):
        shown.update(k * SECOND // 25, person(value))
    state = shown.predict((len(values) - 1) * SECOND // 25 + lead_ms * 1_000_000)
    assert min(values) - 1e-5 <= state.z[0] <= max(values) + 1e-5


def test_after_the_last_observation_it_is_held_and_gets_uncertain() -> None:
    shown = InterpolationFilter()
    for k in range(10):
        shown.update(k * SECOND // 25, person(float(k)))
    far = shown.predict(5 * SECOND)
    assert far.z == pytest.approx(np.full(3, 9.0)) and far.z_std[0] > 1.0


def test_a_long_track_keeps_a_short_memory() -> None:
    shown = InterpolationFilter()
    for k in range(1000):
        shown.update(k * SECOND // 100, person(0.0))
    assert len(shown._seen) <= 16


def test_refused_are_broken_and_stale_observations_and_wrong_delays() -> None:
    shown = InterpolationFilter()
    with pytest.raises(RuntimeError, match="no update"):
        shown.predict(0)
    shown.update(SECOND, person(1.0))
    shown.update(SECOND, person(2.0))
    shown.update(SECOND // 2, person(2.0))
    shown.update(2 * SECOND, person(float("nan")))
    assert shown.predict(9 * SECOND).z == pytest.approx(np.ones(3))
    with pytest.raises(ValueError, match="positive"):
        InterpolationFilter(delay_s=0.0)
