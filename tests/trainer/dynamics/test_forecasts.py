"""The forecaster's training: it learns motion from estimates, simulated and recorded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.skeleton import MIRROR_JOINTS
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import PoseFlow
from kinestream.latent.forecast import ForecasterConfig, MotionForecaster
from kinestream.tools.bench.filter.runs import joints_of
from kinestream.trainer.dynamics.batches import MAX_LEAD_S, simulated_batch
from kinestream.trainer.dynamics.clips import LatentClips, Trajectory
from kinestream.trainer.dynamics.forecasts import (
    Estimated,
    ForecastTraining,
    evaluate,
    forecast_losses,
    foretell,
    new_run,
    recorded_estimates,
    simulated_estimates,
    train,
)
from kinestream.trainer.dynamics.recorded_estimates import RecordedEstimates
from kinestream.trainer.prepare.estimate_observations import estimated
from tests.trainer.dynamics.small_motion import recording

CONFIG = ForecastTraining(
    forecaster=ForecasterConfig(hidden=16), steps=110, batch=16, frames=16, points=4, warmup=2, ema=0.5,
    learning_rate=5e-3,
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded(clips: LatentClips) -> RecordedEstimates:
    return estimated(recording(clips), Unfiltered, np.random.default_rng(0), passes=3)


@pytest.fixture(scope="module")
def source(clips: LatentClips, recorded: RecordedEstimates) -> Estimated:
    torch.manual_seed(0)
    dynamics = LatentDynamics(DynamicsConfig(hidden=8), flow_id="a flow").requires_grad_(False)
    dynamics.head.weight.zero_()  # what is precise is taken as it is
    dynamics.head.bias.zero_()
    return Estimated(clips, dynamics, recorded)


def test_it_learns_to_beat_holding_the_last_estimate(
    source: Estimated, flow: PoseFlow, tmp_path: Path
) -> None:
    run = new_run(source, CONFIG, tmp_path)
    before = evaluate(run.averaged(), flow, source, CONFIG)
    after = evaluate(train(run, CONFIG, flow, source, source), flow, source, CONFIG)
    for prefix in ("", "recorded_"):
        assert after[f"{prefix}mpjpe_m"] < 0.97 * after[f"{prefix}held_mpjpe_m"]
        assert after[f"{prefix}nll"] < before[f"{prefix}nll"]


def test_a_run_resumes_and_a_trained_one_goes_on(source: Estimated, flow: PoseFlow, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=4)

    def trained(folder: str, **loop: int) -> MotionForecaster:
        return train(new_run(source, config, tmp_path / folder), config, flow, source, source, **loop)

    whole = trained("whole")
    trained("parts", stop_after=2)
    parts = trained("parts")
    assert parts.flow_id == "a flow"
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value)
    further = new_run(source, config, tmp_path / "further", init=whole)
    for name, value in further.network.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name])
    with pytest.raises(ValueError, match="another configuration: forecaster changed"):
        new_run(source, replace(config, forecaster=ForecasterConfig(hidden=12)), tmp_path / "parts")


def test_a_perfect_forecast_costs_no_joints(source: Estimated, flow: PoseFlow) -> None:
    torch.manual_seed(0)
    still = MotionForecaster(ForecasterConfig(hidden=8)).requires_grad_(False)
    still.head.weight.zero_()
    still.head.bias.zero_()
    data = simulated_estimates(source, batch=6, steps=10, rng=np.random.default_rng(0), tempo=0.0)
    data = replace(data, ahead=data.estimate, told=torch.ones_like(data.told))
    found = forecast_losses(still, flow, [data], np.random.default_rng(1), points=8).numbers()
    assert found["mpjpe_m"] < 1e-5 and found["camera_mpjpe_m"] < 1e-5


def test_who_is_out_of_sight_is_foretold_from_the_last_estimate(source: Estimated) -> None:
    torch.manual_seed(0)
    forecaster = MotionForecaster(ForecasterConfig(hidden=8)).requires_grad_(False)
    data = simulated_estimates(source, batch=3, steps=8, rng=np.random.default_rng(0), tempo=0.0)
    data.told[:] = True
    data.told[:, 5:] = False
    lost = foretell(forecaster, data).pose.z.unflatten(0, (3, 7))
    data.estimate.z[:, 5:] += 7
    assert torch.equal(foretell(forecaster, data).pose.z.unflatten(0, (3, 7)), lost)
    since = (data.times_s[:, 5:] - data.times_s[:, 4:5]).float() + data.lead_s[:, 5:]
    data.lead_s[:, 4] = since[:, 1]
    again = foretell(forecaster, data).pose.z.unflatten(0, (3, 7))
    torch.testing.assert_close(again[:, 3], lost[:, 5], atol=1e-5, rtol=1e-5)


def test_recorded_estimates_go_with_the_truth_of_their_pictures(
    clips: LatentClips, recorded: RecordedEstimates, tmp_path: Path
) -> None:
    assert len(recorded) == 9
    told = recorded.frame >= 0
    assert told.sum(1).min() >= 5 and (np.diff(recorded.frame, axis=1)[told[:, 1:]] > 0).all()
    true = recorded.z[recorded.clip[:, None], np.maximum(recorded.frame, 0)]
    assert np.abs(recorded.estimated_z - true)[told] == pytest.approx(0.5, abs=1e-5)  # the recording's offset
    data = recorded_estimates(recorded, batch=16, steps=12, rng=np.random.default_rng(0))
    moved = data.told & data.valid & (data.lead_s < 1e-6)
    assert moved.any()
    torch.testing.assert_close(data.estimate.z[moved], data.ahead.z[moved], atol=1e-5, rtol=1e-5)  # lasting
    later = data.valid & (data.lead_s > 0.3)
    assert (data.estimate.z - data.ahead.z)[later].abs().max() > 0.1
    recorded.save(tmp_path / "estimates.npz")
    back = RecordedEstimates.load_all([tmp_path / "estimates.npz"] * 2)
    assert len(back) == 18 and len(back.z) == 6 and back.clip.max() == 5
    assert np.array_equal(back.estimated_z[9:], recorded.estimated_z)
    np.savez(tmp_path / "other.npz", x=np.zeros(1))
    with pytest.raises(ValueError, match="estimate_observations"):
        RecordedEstimates.load(tmp_path / "other.npz")


def test_passes_differ_in_rate_and_in_what_was_missed(clips: LatentClips) -> None:
    found = estimated(recording(clips), LearnedFilter, np.random.default_rng(0), passes=6)
    gaps = np.diff(found.frame, axis=1)
    strides = {int(np.median(row[row > 0])) for row in gaps}
    assert len(strides) > 2 and min(strides) == 1
    assert (found.std[found.frame >= 0] > 0).all()


def test_tempo_and_clean_sequences_are_as_asked(clips: LatentClips) -> None:
    def speed(tempo: float) -> float:
        rng = np.random.default_rng(0)
        data = simulated_batch(clips, batch=200, steps=6, rng=rng, clean=1.0, tempo=tempo)
        assert float(data.std[..., :63].max()) < 0.2
        paces = np.diff(data.truth.translation_m, axis=1) / np.diff(data.times_s, axis=1)[..., None]
        return float(np.linalg.norm(paces, axis=-1)[data.valid[:, 1:]].std())

    assert speed(0.5) > 1.5 * speed(0.0)


def test_mirrored_estimates_are_those_of_the_mirrored_person(
    recorded: RecordedEstimates, flow: PoseFlow
) -> None:
    mirrored = recorded.mirrored(flow)
    decoder, flip = FlowDecoder(flow), np.array([-1.0, 1.0, 1.0])

    def joints_m(of: RecordedEstimates, name: str) -> np.ndarray:
        parts = [getattr(of, f"{name}{part}")[0] for part in ("z", "root_quat_wxyz", "translation_m")]
        return joints_of(decoder, Trajectory(parts[0], parts[0], parts[1], parts[2]))

    for name in ("", "estimated_"):
        own, other = (joints_m(of, name) for of in (recorded, mirrored))
        np.testing.assert_allclose(other, own[:, list(MIRROR_JOINTS)] * flip, atol=1e-3)
    both = RecordedEstimates.joined([recorded, mirrored])
    assert len(both) == 2 * len(recorded)
    np.testing.assert_array_equal(both.z[both.clip[len(recorded)]], mirrored.z[recorded.clip[0]])


def test_a_recording_is_also_played_faster_and_slower(recorded: RecordedEstimates) -> None:
    def steps_s(tempo: float) -> np.ndarray:
        rng = np.random.default_rng(3)
        data = recorded_estimates(recorded, batch=12, steps=4, rng=rng, tempo=tempo)
        assert float(data.lead_s.max()) <= MAX_LEAD_S + 1e-6
        return np.diff(data.times_s.numpy(), axis=1)[:, 0]

    usual = steps_s(0.0)
    assert np.ptp(usual / steps_s(0.3)) > 0.1
