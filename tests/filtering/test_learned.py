"""The learned filter: equal to its torch form, better than nothing, steady in trouble, one size for ever."""

import logging
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.filtering.base import PersonState
from kinestream.filtering.error_state import difference, mean_of, std_of
from kinestream.filtering.gating import OPEN_GATE, Gate
from kinestream.filtering.learned import LearnedFilter
from kinestream.geometry.rotation import quat_from_axis_angle
from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics, Pose
from kinestream.latent.dynamics_weights import DEFAULT_WEIGHTS, DynamicsWeights
from kinestream.latent.flow import PoseFlow, flow_fingerprint

SECOND = 1_000_000_000
LATENT = 6


@pytest.fixture
def random_weights(tmp_path: Path) -> tuple[LatentDynamics, DynamicsWeights]:
    torch.manual_seed(3)
    made = LatentDynamics(DynamicsConfig(latent=LATENT, hidden=16))
    with torch.no_grad():
        made.head.weight.mul_(10)
        made.std_scale[0].fill_(1.3)
        made.std_scale[1].fill_(0.4)
    path = tmp_path / "dynamics.safetensors"
    made.save(path)
    return LatentDynamics.load(path), DynamicsWeights.load(path)


def person(
    rng: np.random.Generator | None = None,
    *,
    latent: int = LATENT,
    z: float = 0.0,
    place: float = 0.0,
    turn: float = 0.0,
    noise: float = 1.0,
) -> PersonState:
    """Somebody seen with standard deviations 0.3, 0.06 rad and 0.02 m, and with errors of that size."""
    rng = rng or np.random.default_rng(0)
    vector = np.array([0.0, turn, 0.0]) + 0.06 * noise * rng.standard_normal(3)
    return PersonState(
        z=(z + 0.3 * noise * rng.standard_normal(latent)).astype(np.float32),
        z_std=np.full(latent, 0.3, np.float32),
        root_quat_wxyz=quat_from_axis_angle(vector.astype(np.float32)),
        root_std_rad=0.06,
        translation_m=np.array([place, 0, 3] + 0.02 * noise * rng.standard_normal(3), np.float32),
        translation_std_m=np.full(3, 0.02, np.float32),
        betas=np.zeros(10, np.float32),
        betas_std=np.ones(10, np.float32),
    )


def pose_of(state: PersonState) -> Pose:
    parts = (state.z, state.root_quat_wxyz, state.translation_m)
    return Pose(*(torch.from_numpy(np.asarray(part, np.float32))[None] for part in parts))


def test_numpy_and_torch_agree(random_weights: tuple[LatentDynamics, DynamicsWeights]) -> None:
    dynamics, weights = random_weights
    rng = np.random.default_rng(0)
    quick = LearnedFilter(weights, smoothness=0.5, gate=OPEN_GATE)
    step, t_ns = None, 0
    for _ in range(30):
        observed = person(rng, z=float(rng.normal()))
        gap_ns = int(rng.uniform(4e6, 2e8))
        t_ns += gap_ns
        state = quick.update(t_ns, observed)
        variance = torch.from_numpy(std_of(observed, floor=1e-3))[None].square()
        if step is None:
            step = dynamics.start(pose_of(observed), variance)
        else:
            gap = torch.tensor([gap_ns / 1e9])
            prior = dynamics.predict(step.pose, step.curve, gap)
            half = torch.tensor([0.5])
            step = dynamics.update(prior, step.hidden, gap, pose_of(observed), variance, half)
        for found, wanted in zip(pose_of(state), step.pose, strict=True):
            torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
        ahead = quick.predict(t_ns + SECOND // 5)
        slow = dynamics.predict(step.pose, step.curve, torch.tensor([0.2]))
        torch.testing.assert_close(pose_of(ahead).z, slow.pose.z, atol=5e-5, rtol=1e-4)
        std = slow.variance.sqrt() * (1.3 + 0.4 * 0.2)
        assert ahead.z_std == pytest.approx(std[0, :-6].numpy(), rel=1e-3)


def remembered_bytes(of: LearnedFilter) -> int:
    arrays = [*vars(of).values(), *of._mean]
    return sum(part.nbytes for part in arrays if isinstance(part, np.ndarray))


def test_a_track_never_grows(random_weights: tuple[LatentDynamics, DynamicsWeights]) -> None:
    learned, rng = LearnedFilter(random_weights[1]), np.random.default_rng(0)
    sizes = []
    for k in range(600):
        learned.update(k * SECOND // 30, person(rng))
        if k in (10, 599):
            sizes.append(remembered_bytes(learned))
    assert sizes[0] == sizes[1] > 0


def test_files_of_other_kinds_and_flows_are_refused(
    tmp_path: Path, random_weights: tuple[LatentDynamics, DynamicsWeights]
) -> None:
    with pytest.raises(FileNotFoundError, match="train some with"):
        DynamicsWeights.load(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match=f"latents of {LATENT} numbers, found 9"):
        LearnedFilter(random_weights[1]).update(0, person(latent=9))
    with pytest.raises(ValueError, match="from -1 to 1"):
        LearnedFilter(random_weights[1], smoothness=2.0)


# ------------------------------------------------------------------ the shipped weights

needs_weights = pytest.mark.skipif(not DEFAULT_WEIGHTS.exists(), reason="the dynamics are not trained yet")
shipped = partial(person, latent=63)


def walk(
    learned: LearnedFilter, rng: np.random.Generator, frames: range, *, rate: float = 30.0
) -> PersonState:
    """Feed a person who walks to the side at 1 m/s and turns, and return the last estimate."""
    for k in frames:
        t = k / rate
        state = learned.update(round(t * SECOND), shipped(rng, place=t, turn=0.5 * t))
    return state


@needs_weights
def test_the_shipped_weights_fit_the_shipped_flow_and_are_small() -> None:
    assert DynamicsWeights.load().flow_id == flow_fingerprint(PoseFlow.load())
    assert DEFAULT_WEIGHTS.stat().st_size <= 3e6


@needs_weights
@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0, 100.0])
def test_it_removes_noise_and_follows(rate: float) -> None:
    rng, learned = np.random.default_rng(1), LearnedFilter()
    raw, filtered, behind = [], [], []
    for k in range(int(4 * rate)):
        t = k / rate
        observed = shipped(rng, place=t, turn=0.5 * t)
        state = learned.update(round(t * SECOND), observed)
        truth = mean_of(shipped(place=t, turn=0.5 * t, noise=0.0))
        if t > 1:
            raw.append(difference(truth, mean_of(observed)))
            error = difference(truth, mean_of(state))
            filtered.append(error)
            behind.append(error[-3])
    raw_rms, rms = np.square(raw).mean(0) ** 0.5, np.square(filtered).mean(0) ** 0.5
    assert rms[:-6].mean() < 0.6 * raw_rms[:-6].mean()
    assert rms[-6:-3].mean() < 0.9 * raw_rms[-6:-3].mean()
    assert abs(np.mean(behind)) < max(0.045, 1 / rate)  # at 1 m/s: less than 45 ms or a frame late


@needs_weights
def test_every_other_frame_gives_the_same_within_the_noise() -> None:
    rng = np.random.default_rng(2)
    every, other = LearnedFilter(), LearnedFilter()
    ratios = []
    for k in range(240):
        t = k / 60
        observed = shipped(rng, z=0.5 * np.sin(3 * t), place=0.5 * np.sin(2 * t), turn=0.4 * np.sin(t))
        full = every.update(round(t * SECOND), observed)
        if k % 2 == 0:
            half = other.update(round(t * SECOND), observed)
            if t > 1:
                ratios.append(difference(mean_of(full), mean_of(half)) / std_of(half, floor=1e-6))
    assert np.sqrt(np.square(ratios).mean()) < 1.0


@needs_weights
def test_uncertainty_grows_through_a_gap_and_the_forecast_goes_on() -> None:
    learned = LearnedFilter()
    last = walk(learned, np.random.default_rng(3), range(60))
    t_ns = 59 * SECOND // 30
    ahead = [learned.predict(t_ns + lead * SECOND // 50) for lead in range(26)]
    for before, after in pairwise(ahead):
        assert (after.z_std >= before.z_std).all() and after.root_std_rad >= before.root_std_rad
    assert ahead[10].translation_m[0] > last.translation_m[0] + 0.1
    assert not learned.lost(t_ns) and learned.lost(t_ns + 60 * SECOND)
    np.testing.assert_array_equal(learned.predict(0).z, learned.predict(t_ns).z)


@needs_weights
def test_a_swapped_person_is_gated_and_a_stubborn_one_accepted() -> None:
    rng, learned = np.random.default_rng(4), LearnedFilter()
    walk(learned, rng, range(60))
    outcomes = []
    for k in range(60, 90):
        learned.update(k * SECOND // 30, shipped(rng, place=k / 30, turn=k / 60 + np.pi))
        outcomes.append(learned.outcome)
    assert outcomes[:3] == ["gated"] * 3
    assert outcomes.count("restarted") == 1 and outcomes[-1] == "fused"
    assert outcomes.index("restarted") <= 16


@needs_weights
def test_what_is_precise_is_believed_at_once() -> None:
    rng, learned = np.random.default_rng(9), LearnedFilter()
    errors, outcomes = [], set()
    for k in range(120):
        t = k / 30
        swing = np.sin(5 * t) if t < 2 else np.sin(10.0)  # and stands still from one frame to the next
        seen = shipped(rng, z=0.6 * swing, place=0.4 * swing, noise=0.03)
        precise = replace(
            seen,
            z_std=0.03 * seen.z_std,
            root_std_rad=0.03 * seen.root_std_rad,
            translation_std_m=0.03 * seen.translation_std_m,
        )
        state = learned.update(round(t * SECOND), precise)
        outcomes.add(learned.outcome)
        errors.append(difference(mean_of(seen), mean_of(state)))
    assert outcomes == {"started", "fused"}
    assert np.abs(np.array(errors)[:, -3]).mean() < 0.02


@needs_weights
def test_time_that_does_not_advance_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    rng, learned = np.random.default_rng(5), LearnedFilter()
    last = walk(learned, rng, range(30))
    t_ns = 29 * SECOND // 30
    with caplog.at_level(logging.WARNING):
        for stale in (t_ns, t_ns - 1, 0):
            state = learned.update(stale, shipped(rng, z=3.0))
            assert learned.outcome == "stale"
            np.testing.assert_array_equal(state.z, last.z)
    assert len(caplog.records) == 1 and "not after the last one" in caplog.text
    learned.update(30 * SECOND // 30, shipped(rng, place=1.0, turn=0.5))
    assert learned.outcome == "fused"


@needs_weights
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    rng, learned = np.random.default_rng(6), LearnedFilter()
    walk(learned, rng, range(30))
    expected = learned.predict(SECOND)
    observed = shipped(rng, place=1.0)
    z = observed.z.copy()
    z[7] = bad
    state = learned.update(SECOND, replace(observed, z=z))
    assert learned.outcome == "invalid"
    np.testing.assert_array_equal(state.z, expected.z)
    np.testing.assert_array_equal(state.z_std, expected.z_std)


@needs_weights
def test_after_ten_seconds_a_track_starts_anew() -> None:
    rng, learned = np.random.default_rng(7), LearnedFilter()
    walk(learned, rng, range(30))
    observed = shipped(rng, z=1.0, place=-2.0)
    state = learned.update(11 * SECOND, observed)
    assert learned.outcome == "restarted"
    np.testing.assert_allclose(state.z, observed.z)
    fresh = LearnedFilter()
    fresh.update(0, observed)
    np.testing.assert_array_equal(
        fresh.predict(SECOND // 10).z_std, learned.predict(111 * SECOND // 10).z_std
    )


@needs_weights
def test_a_burst_at_100_hz_and_faster_stays_calm() -> None:
    rng, learned = np.random.default_rng(8), LearnedFilter()
    walk(learned, rng, range(30))
    t_ns, places = SECOND, []
    for _ in range(200):
        t_ns += int(rng.choice([1_000, 1_000_000, 10_000_000]))
        state = learned.update(t_ns, shipped(rng, place=1.0, turn=0.5))
        assert np.isfinite(state.z).all() and np.isfinite(state.z_std).all()
        places.append(float(state.translation_m[0]))
    assert np.abs(np.array(places[50:]) - 1.0).max() < 0.15
    assert np.square(state.z).mean() ** 0.5 < 0.15  # half of the noise at most, and no drift


@needs_weights
def test_reset_forgets() -> None:
    rng = np.random.default_rng(9)
    used, fresh = LearnedFilter(gate=Gate()), LearnedFilter(gate=Gate())
    walk(used, rng, range(40))
    used.reset()
    with pytest.raises(RuntimeError, match="no update"):
        used.predict(0)
    for k in range(10):
        observed = shipped(np.random.default_rng(k))
        np.testing.assert_array_equal(
            used.update(k * SECOND // 30, observed).z, fresh.update(k * SECOND // 30, observed).z
        )
