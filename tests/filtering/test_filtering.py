"""The filters' common promises, and the One Euro filter against its published definition and values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.filtering import PersonState, PoseFilter, filter_factory
from kinestream.filtering.one_euro import OneEuroFilter, OneEuroSettings, OneEuroSignal
from kinestream.geometry.rotation import (
    axis_angle_from_quat,
    geodesic_distance,
    matrix_from_quat,
    quat_from_axis_angle,
)

PUBLISHED = """
0 -0.0385099 -0.0385099
0.00833333 -0.0280664 -0.0379872
0.0166667 0.048622 -0.0334427
0.025 0.111498 -0.0252696
0.0333333 0.053026 -0.0207099
0.0416667 0.120548 -0.0119912
0.05 0.00972308 -0.0106507
0.0583333 0.074193 -0.00526521
0.0666667 -0.0236801 -0.00641239
0.075 0.0462396 -0.00308863
0.0833333 0.0892027 0.00291027
0.0916667 0.158329 0.0135545
"""
"""Time, noisy and filtered value: head of the conformance table of github.com/casiez/OneEuroFilter, which
its authors made with min_cutoff 1, beta 0.1, speed cut-off 1."""


def state(**changes: object) -> PersonState:
    fields: dict[str, object] = {
        "z": np.zeros(63, np.float32),
        "z_std": np.full(63, 0.3, np.float32),
        "root_quat_wxyz": np.float32([1, 0, 0, 0]),
        "root_std_rad": 0.1,
        "translation_m": np.float32([0, 0, 3]),
        "translation_std_m": np.float32([0.02, 0.02, 0.1]),
        "betas": np.zeros(10, np.float32),
        "betas_std": np.ones(10, np.float32),
    }
    return PersonState(**{**fields, **changes})  # type: ignore[arg-type]


def quat(vector: object) -> np.ndarray:
    return np.asarray(quat_from_axis_angle(np.asarray(vector, np.float64)), np.float32)


def angle_deg(one: np.ndarray, other: np.ndarray) -> float:
    return math.degrees(float(geodesic_distance(matrix_from_quat(one), matrix_from_quat(other))))


@pytest.fixture(params=["kalman", "none", "one-euro"])
def any_filter(request: pytest.FixtureRequest) -> PoseFilter:
    return filter_factory(request.param)()


def test_unknown_filters_are_named() -> None:
    with pytest.raises(ValueError, match="expected one of .*kalman, one-euro.* found 'kalman9'"):
        filter_factory("kalman9")


def test_one_euro_reproduces_the_published_values() -> None:
    rows = np.array([[float(x) for x in line.split()] for line in PUBLISHED.strip().splitlines()])
    signal = OneEuroSignal(OneEuroSettings(min_cutoff_hz=1.0, beta=0.1, speed_cutoff_hz=1.0))
    steps = np.diff(rows[:, 0], prepend=0)
    found = [float(signal.update(np.array([x]), step)[0]) for x, step in zip(rows[:, 1], steps, strict=True)]
    np.testing.assert_allclose(found, rows[:, 2], atol=2e-6)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(1e-3, 0.2)), min_size=2, max_size=30),
    st.floats(0.1, 10),
    st.floats(0, 3),
)
def test_one_euro_is_the_published_recursion(
    samples: list[tuple[float, float]], cutoff: float, beta: float
) -> None:
    def alpha(f: float, dt: float) -> float:
        r = 2 * math.pi * f * dt
        return r / (r + 1)

    signal = OneEuroSignal(OneEuroSettings(min_cutoff_hz=cutoff, beta=beta))
    x_hat = dx_hat = 0.0
    for i, (x, dt) in enumerate(samples):
        if i == 0:
            x_hat = x
        else:
            a = alpha(1.0, dt)
            dx_hat = a * (x - x_hat) / dt + (1 - a) * dx_hat
            a = alpha(cutoff + beta * abs(dx_hat), dt)
            x_hat = a * x + (1 - a) * x_hat
        assert float(signal.update(np.array([x]), dt)[0]) == pytest.approx(x_hat, abs=1e-9)


def test_a_constant_person_stays_where_he_is(any_filter: PoseFilter) -> None:
    seen = state(z=np.linspace(-1, 1, 63, dtype=np.float32), root_quat_wxyz=quat([0.4, -2.5, 0.3]))
    for i in range(50):
        out = any_filter.update(i * 33_000_000, seen)
    np.testing.assert_allclose(out.z, seen.z, atol=1e-6)
    np.testing.assert_allclose(out.translation_m, seen.translation_m, atol=1e-6)
    assert angle_deg(out.root_quat_wxyz, seen.root_quat_wxyz) < 0.1
    ahead = any_filter.predict(50 * 33_000_000 + 200_000_000)
    np.testing.assert_allclose(ahead.z, seen.z, atol=1e-5)


def test_uncertainty_grows_while_coasting(any_filter: PoseFilter) -> None:
    any_filter.update(0, state())
    stds = [any_filter.predict(ms * 1_000_000) for ms in (0, 10, 100, 1000)]
    assert (np.diff([s.z_std.mean() for s in stds]) > 0).all()
    assert (np.diff([s.root_std_rad for s in stds]) > 0).all()
    assert (np.diff([s.translation_std_m.mean() for s in stds]) > 0).all()
    assert stds[-1].translation_std_m.mean() > 0.3, "after a second he may be anywhere near"


def test_prediction_changes_nothing(any_filter: PoseFilter) -> None:
    rng = np.random.default_rng(1)
    for i in range(5):
        any_filter.update(i * 20_000_000, state(z=rng.normal(size=63).astype(np.float32)))
    first = any_filter.predict(150_000_000)
    any_filter.predict(900_000_000)
    again = any_filter.predict(150_000_000)
    np.testing.assert_array_equal(first.z, again.z)
    np.testing.assert_array_equal(first.root_quat_wxyz, again.root_quat_wxyz)


def test_reset_forgets(any_filter: PoseFilter) -> None:
    with pytest.raises(RuntimeError, match="no update yet"):
        any_filter.predict(0)
    any_filter.update(0, state(z=np.full(63, 5, np.float32)))
    any_filter.reset()
    with pytest.raises(RuntimeError, match="no update yet"):
        any_filter.predict(0)
    out = any_filter.update(10**9, state())
    np.testing.assert_array_equal(out.z, np.zeros(63))


def test_times_that_do_not_advance_are_survived(any_filter: PoseFilter) -> None:
    any_filter.update(10**9, state())
    for t in (10**9, 10**9 - 5):
        out = any_filter.update(t, state(translation_m=np.float32([0, 0, 4])))
    assert np.isfinite(out.z).all() and np.isfinite(out.translation_m).all()
    assert np.isfinite(any_filter.predict(0).translation_m).all()


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000))
def test_noise_shrinks_and_quaternions_stay_unit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=3) * 1.2
    pose_filter, raw, out = OneEuroFilter(), [], []
    for i in range(60):
        seen = state(
            z=rng.normal(scale=0.3, size=63).astype(np.float32),
            root_quat_wxyz=quat(centre + rng.normal(size=3) * 0.05),
        )
        if rng.random() < 0.5:  # either sign is the same rotation
            seen = state(z=seen.z, root_quat_wxyz=-seen.root_quat_wxyz)
        estimate = pose_filter.update(i * 33_333_333, seen)
        assert abs(np.linalg.norm(estimate.root_quat_wxyz) - 1) < 1e-5
        raw.append([*seen.z, angle_deg(seen.root_quat_wxyz, quat(centre))])
        out.append([*estimate.z, angle_deg(estimate.root_quat_wxyz, quat(centre))])
    spread_raw, spread_out = np.square(raw[20:]).mean(0), np.square(out[20:]).mean(0)
    assert spread_out[:-1].mean() < 0.6 * spread_raw[:-1].mean()
    assert spread_out[-1] < spread_raw[-1]


def test_the_forecast_follows_a_steady_motion() -> None:
    pose_filter = OneEuroFilter()
    for i in range(90):
        t = i / 30
        pose_filter.update(
            round(t * 1e9),
            state(translation_m=np.float32([1.5 * t, 0, 3]), root_quat_wxyz=quat([0, 0.8 * t, 0])),
        )
    now = pose_filter.predict(round(89 / 30 * 1e9))
    ahead = pose_filter.predict(round(89 / 30 * 1e9) + 80_000_000)
    assert ahead.translation_m[0] - now.translation_m[0] == pytest.approx(0.12, rel=0.1)
    turned = axis_angle_from_quat(ahead.root_quat_wxyz.astype(float)) - axis_angle_from_quat(
        now.root_quat_wxyz.astype(float)
    )
    np.testing.assert_allclose(turned, [0, 0.064, 0], atol=0.008)


def test_the_shape_settles_on_the_mean() -> None:
    rng = np.random.default_rng(0)
    truth, pose_filter = rng.normal(size=10), OneEuroFilter()
    for i in range(200):
        out = pose_filter.update(
            i * 10_000_000, state(betas=(truth + rng.normal(size=10)).astype(np.float32))
        )
    assert np.abs(out.betas - truth).mean() < 0.15
    assert 0.1 < out.betas_std.mean() < 0.3, "successive frames err alike"


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="cut-offs must be positive"):
        OneEuroSettings(min_cutoff_hz=0)
