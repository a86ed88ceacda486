"""The learned dynamics: motion curves, error states, files, and the fingerprint that ties them to a flow."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from kinestream.latent.dynamics import (
    DynamicsConfig,
    LatentDynamics,
    MotionCurve,
    Pose,
    difference,
    move,
    student_nll,
)
from kinestream.latent.flow import FlowConfig, PoseFlow, flow_fingerprint

CONFIG = DynamicsConfig(latent=5, hidden=12)
BATCH = 4


def dynamics(seed: int = 0) -> LatentDynamics:
    torch.manual_seed(seed)
    made = LatentDynamics(CONFIG, flow_id="some flow")
    with torch.no_grad():
        made.head.weight.mul_(10)  # the start is close to a plain filter; let the cell speak
    return made


def random_pose(seed: int, spread: float = 1.0) -> Pose:
    generator = torch.Generator().manual_seed(seed)
    quat = torch.nn.functional.normalize(torch.randn(BATCH, 4, generator=generator), dim=-1)
    return Pose(
        spread * torch.randn(BATCH, CONFIG.latent, generator=generator),
        quat,
        spread * torch.randn(BATCH, 3, generator=generator),
    )


def random_curve(seed: int) -> MotionCurve:
    generator = torch.Generator().manual_seed(seed)
    count = len(CONFIG.time_constants_s)
    return MotionCurve(
        torch.randn(BATCH, count, CONFIG.state, generator=generator),
        torch.rand(BATCH, 3, CONFIG.state, generator=generator) + 0.01,
    )


def test_the_curve_starts_at_the_pose() -> None:
    pose, curve = random_pose(0), random_curve(1)
    at = dynamics().predict(pose, curve, torch.zeros(BATCH))
    torch.testing.assert_close(difference(at.pose, pose), torch.zeros(BATCH, CONFIG.state), atol=1e-6, rtol=0)
    torch.testing.assert_close(at.variance, curve.variances[:, 0])


@settings(max_examples=20, deadline=None)
@given(lead=st.floats(0.0, 0.6), seed=st.integers(0, 100))
def test_velocity_is_the_derivative_of_the_curve(lead: float, seed: int) -> None:
    made = dynamics().double()
    pose = Pose(*(part.double() for part in random_pose(seed)))
    curve = MotionCurve(*(part.double() for part in random_curve(seed + 1)))
    step = 1e-5
    now, later = (
        made.predict(pose, curve, torch.full((BATCH,), at, dtype=torch.float64)) for at in (lead, lead + step)
    )
    slope = difference(later.pose, now.pose) / step
    kept = [i for i in range(CONFIG.state) if not CONFIG.latent <= i < CONFIG.latent + 3]
    torch.testing.assert_close(slope[:, kept], now.velocity[:, kept], atol=1e-3, rtol=1e-3)
    assert (later.variance >= now.variance).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_move_undoes_difference(seed: int) -> None:
    start, end = random_pose(seed), random_pose(seed + 1)
    back = move(start, difference(end, start))
    assert torch.allclose(difference(end, back), torch.zeros(BATCH, CONFIG.state), atol=2e-5)


def test_gradients_reach_every_weight() -> None:
    made = dynamics()
    observed = random_pose(3)
    variance = torch.full((BATCH, CONFIG.state), 0.1)
    state = made.start(observed, variance)
    gap = torch.full((BATCH,), 0.03)
    for index in range(3):
        prior = made.predict(state.pose, state.curve, gap)
        state = made.update(prior, state.hidden, gap, random_pose(index), variance, torch.zeros(BATCH))
    ahead = made.predict(state.pose, state.curve, torch.full((BATCH,), 0.2))
    truth = random_pose(9)
    loss = student_nll(difference(truth, ahead.pose), ahead.variance).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_wild_observations_leave_the_state_finite(scale: float) -> None:
    made = dynamics(2)
    variance = torch.full((BATCH, CONFIG.state), 0.01)
    state = made.start(random_pose(0), variance)
    gap = torch.full((BATCH,), 0.008)
    for index in range(40):
        prior = made.predict(state.pose, state.curve, gap)
        observed = random_pose(index, spread=scale)
        state = made.update(prior, state.hidden, gap, observed, variance, torch.ones(BATCH))
    assert all(torch.isfinite(part).all() for part in (*state.pose, *state.curve, state.hidden))
    assert (state.curve.variances > 0).all()


def test_a_file_holds_everything(tmp_path: Path) -> None:
    made, path = dynamics(), tmp_path / "d.safetensors"
    made.save(path)
    back = LatentDynamics.load(path)
    assert back.config == CONFIG and back.flow_id == "some flow" and not back.training
    for name, value in made.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_what_is_no_dynamics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train some with"):
        LatentDynamics.load(tmp_path / "missing.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"expected format kinestream.latent_dynamics"):
        LatentDynamics.load(tmp_path / "other.safetensors")


def test_the_fingerprint_tells_flows_apart() -> None:
    torch.manual_seed(0)
    flow = PoseFlow(FlowConfig(depth=1, hidden=8))
    before = flow_fingerprint(flow)
    assert before == flow_fingerprint(flow) and len(before) == 16
    with torch.no_grad():
        next(flow.parameters()).add_(0.01)
    assert flow_fingerprint(flow) != before


def test_student_nll_prefers_the_right_scale() -> None:
    error = torch.from_numpy(np.random.default_rng(0).standard_t(5, 20000))
    losses = [float(student_nll(error, torch.tensor(scale**2)).mean()) for scale in (0.5, 1.0, 2.0)]
    assert losses[1] == min(losses)
