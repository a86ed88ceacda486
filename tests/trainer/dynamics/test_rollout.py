"""The unrolled filter and its losses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.data.motion.clip import MotionClip, forward_joints
from kinestream.trainer.dynamics.batches import (
    Batch,
    draw_batch,
    drifting,
    recorded_batch,
    simulated_batch,
)
from kinestream.trainer.dynamics.clips import LatentClips
from kinestream.trainer.dynamics.rollout import forward_joints as torch_joints
from kinestream.trainer.dynamics.rollout import unroll, unrolled_losses
from tests.trainer.dynamics.small_motion import motion, recording


def untrained() -> LatentDynamics:
    """Dynamics whose cell says nothing: what is precise is taken as it is."""
    dynamics = LatentDynamics(DynamicsConfig(hidden=8)).requires_grad_(False)
    dynamics.head.weight.zero_()
    dynamics.head.bias.zero_()
    return dynamics


def test_joints_in_torch_are_those_in_numpy() -> None:
    rotations = motion("x", frames=6).rotations
    wanted = forward_joints(rotations, np.zeros((6, 3)))
    found = torch_joints(torch.from_numpy(rotations[:, 1:]), torch.from_numpy(rotations[:, 0]))
    assert found.numpy() == pytest.approx(wanted, abs=1e-9)


def test_missed_frames_leave_the_state_alone(clips: LatentClips) -> None:
    data = draw_batch(clips, batch=4, steps=8, rng=np.random.default_rng(0))
    data.missing[:, 1:] = True
    torch.manual_seed(0)
    rollout = unroll(LatentDynamics(DynamicsConfig(hidden=8)), data)
    held = data.observed.z[:, :1].expand(-1, 7, -1).flatten(0, 1)
    torch.testing.assert_close(rollout.estimate.pose.z, held)
    torch.testing.assert_close(
        rollout.age_s, (data.times_s[:, 1:] - data.times_s[:, :1]).float().flatten(), atol=1e-5, rtol=1e-5
    )


def test_a_lasting_offset_from_a_real_regressor_costs(clips: LatentClips, flow: PoseFlow) -> None:
    data = recorded_batch(recording(clips), batch=6, steps=8, rng=np.random.default_rng(0))
    torch.manual_seed(0)
    dynamics = LatentDynamics(DynamicsConfig(hidden=8)).requires_grad_(False)

    def total(part: Batch) -> float:
        return unrolled_losses(dynamics, flow, part, np.random.default_rng(1)).numbers()["total"]

    apart = replace(data, observed=data.observed._replace(z=data.observed.z + 0.0))
    apart.observed.z[:, 1:] += 0.5
    apart.missing[:, 1:] = True  # the estimate stays where it was
    data.missing[:, 1:] = True
    simulated = torch.zeros_like(data.recorded)
    assert total(replace(apart, recorded=simulated)) == pytest.approx(
        total(replace(data, recorded=simulated))
    )
    assert total(apart) > total(data) + 0.5


def test_losses_are_those_of_a_perfect_filter_at_zero(clips: LatentClips, flow: PoseFlow) -> None:
    rng = np.random.default_rng(0)
    data = draw_batch(clips, batch=4, steps=8, rng=rng)
    perfect = replace(
        data, observed=data.truth, missing=torch.zeros_like(data.missing), std=0 * data.std + 1e-4
    )
    torch.manual_seed(0)
    dynamics = LatentDynamics(DynamicsConfig(hidden=8))
    with torch.no_grad():
        dynamics.head.weight.zero_()
        dynamics.head.bias.zero_()
    losses = unrolled_losses(dynamics, flow, perfect, rng)
    numbers = losses.numbers()
    assert numbers["mpjpe_m"] < 2e-3 < numbers["ahead_mpjpe_m"]


@pytest.mark.parametrize(
    ("truly_m_s", "drifts", "slide_m_s"), [(0.0, False, 0.3), (0.9, False, 0.0), (0.0, True, 0.3)]
)
def test_only_feet_that_stand_slide(flow: PoseFlow, truly_m_s: float, drifts: bool, slide_m_s: float) -> None:
    times = np.arange(90) / 30.0
    place = np.stack([truly_m_s * times, 0.9 + 0 * times, 0 * times], -1)
    moving = MotionClip("a", np.tile(np.eye(3), (90, 22, 1, 1)), place, 30.0)
    data = simulated_batch(LatentClips([moving], flow), batch=4, steps=8, rng=np.random.default_rng(0))
    data = drifting(data, np.random.default_rng(0)) if drifts else data
    assert bool(data.drift_m_s.any()) == drifts
    away = torch.tensor([0.0, 0.3, 0.0]) * data.times_s[..., None].float()
    seen = data.truth._replace(translation_m=data.truth.translation_m + away)
    data = replace(data, observed=seen, missing=torch.zeros_like(data.missing), std=0 * data.std + 1e-4)
    dynamics = untrained()
    found = unrolled_losses(dynamics, flow, data, np.random.default_rng(1)).numbers()
    assert found["slide_m_s"] == pytest.approx(slide_m_s, abs=0.01)


def test_a_place_that_is_late_costs_where_it_is_simulated(flow: PoseFlow) -> None:
    times = np.arange(90) / 30.0
    place = np.stack([0.9 * times, 0.9 + 0 * times, 0 * times], -1)
    moving = MotionClip("a", np.tile(np.eye(3), (90, 22, 1, 1)), place, 30.0)
    data = simulated_batch(LatentClips([moving], flow), batch=4, steps=8, rng=np.random.default_rng(0))
    data = replace(data, missing=torch.zeros_like(data.missing), std=0 * data.std + 1e-4)
    at = data.truth.translation_m
    velocity = (at[:, 1] - at[:, 0]) / (data.times_s[:, 1] - data.times_s[:, 0]).float()[:, None]
    dynamics = untrained()

    def losses(late_s: float, recorded: float) -> dict[str, float]:
        seen = data.truth._replace(translation_m=at - late_s * velocity[:, None])
        part = replace(data, observed=seen, recorded=torch.full_like(data.recorded, recorded))
        return unrolled_losses(dynamics, flow, part, np.random.default_rng(1)).numbers()

    late, early = losses(0.05, 0.0), losses(-0.05, 0.0)
    assert late["place_lag_s"] == pytest.approx(0.05, abs=0.005)
    assert early["place_lag_s"] == pytest.approx(-0.05, abs=0.005)
    assert late["total"] > early["total"] + 0.3
