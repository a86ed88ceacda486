"""Trajectories, simulated observations, the unrolled filter and its training, on small made-up motion."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.geometry.rotation import matrix_from_axis_angle, matrix_from_quat
from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.trainer.data.motion.clip import MotionClip, forward_joints
from kinestream.trainer.dynamics.batches import (
    Batch,
    draw_batch,
    drifting,
    recorded_batch,
    simulated_batch,
)
from kinestream.trainer.dynamics.clips import LatentClips, held_out_halves, multiply, random_cameras, rotate
from kinestream.trainer.dynamics.noise import OUTLIERS, SWAPS, WHITE, NoiseModel, frame_times, observe
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.rollout import forward_joints as torch_joints
from kinestream.trainer.dynamics.rollout import unroll, unrolled_losses
from kinestream.trainer.dynamics.training import Motions, TrainConfig, calibrate, evaluate, new_run, train

CONFIG = TrainConfig(
    dynamics=DynamicsConfig(hidden=16), steps=40, batch=8, frames=10, warmup=2, ema=0.5, learning_rate=3e-3
)


def motion(name: str, *, frames: int = 150, fps: float = 60.0, seed: int = 0) -> MotionClip:
    """Limbs that swing, and a pelvis that walks and turns."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] / fps
    swing = 0.5 * rng.standard_normal((22, 3)) * np.sin(2 * np.pi * rng.uniform(0.3, 1.2, (22, 1)) * t)
    place = np.stack([0.9 * t[:, 0, 0], 0.9 + 0 * t[:, 0, 0], 0.1 * np.sin(3 * t[:, 0, 0])], -1)
    return MotionClip(name, matrix_from_axis_angle(swing), place, fps)


@pytest.fixture(scope="module")
def flow() -> PoseFlow:
    torch.manual_seed(0)
    return PoseFlow(FlowConfig(depth=1, hidden=8)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clips(flow: PoseFlow) -> LatentClips:
    return LatentClips([motion("a"), motion("b", fps=30.0, seed=1), motion("c", frames=90, seed=2)], flow)


@pytest.fixture(scope="module")
def motions(clips: LatentClips) -> Motions:
    return Motions(clips, recording(clips))


def unused(clips: int, frames: int) -> dict[str, np.ndarray]:
    """What recordings hold and the filter's training does not read."""
    betas = np.zeros((clips, frames, 10), np.float32)
    return {
        "betas": betas[:, 0],
        "seen_betas": betas,
        "betas_std": betas + 1,
        "keypoints": np.zeros((clips, frames, 23, 3), np.float32),
        "half_box": np.ones((clips, frames), np.float32),
    }


def recording(
    clips: LatentClips, *, frames: int = 90, fps: float = 60.0, offset: float = 0.5
) -> RecordedObservations:
    """Three clips, seen with an offset of every latent, a turn of 0.1 rad and 0.2 m too far."""
    times = np.tile(np.arange(frames) / fps, (3, 1))
    truth = clips.at(np.arange(3), times)
    turn = np.broadcast_to(np.array([np.cos(0.05), 0, np.sin(0.05), 0], np.float32), (3, frames, 4))
    return RecordedObservations(
        fps=fps,
        z=truth.z,
        root_quat_wxyz=truth.root_quat_wxyz,
        translation_m=truth.translation_m,
        seen_z=truth.z + np.float32(offset),
        seen_root_quat_wxyz=multiply(truth.root_quat_wxyz, turn).astype(np.float32),
        seen_translation_m=truth.translation_m + np.array([0, 0, 0.2], np.float32),
        std=np.full((3, frames, 69), 0.4, np.float32),
        missing=np.zeros((3, frames), bool),
        **unused(3, frames),
    )


# ------------------------------------------------------------------ trajectories


def test_at_frame_times_a_trajectory_is_the_clip(clips: LatentClips, flow: PoseFlow) -> None:
    clip = motion("b", fps=30.0, seed=1)
    frames = np.array([3, 40, 120])
    states = clips.at(np.array([1]), frames[None] / 30.0)
    wanted = torch.from_numpy(clip.rotations[frames, 1:].astype(np.float32))
    assert flow.decode(torch.from_numpy(states.z[0])).numpy() == pytest.approx(wanted.numpy(), abs=1e-4)
    roots = matrix_from_quat(states.root_quat_wxyz[0])
    assert roots == pytest.approx(clip.rotations[frames, 0].astype(np.float32), abs=1e-5)
    assert states.translation_m[0] == pytest.approx(clip.root_translation_m[frames], abs=1e-5)


def test_a_mirrored_trajectory_is_the_mirrored_clip(clips: LatentClips, flow: PoseFlow) -> None:
    at = np.array([[0.5, 1.0]])
    states = clips.at(np.array([0]), at, mirrored=np.array([True]))
    clip = motion("a").mirrored()
    frames = np.array([30, 60])
    wanted = clip.rotations[frames]
    assert flow.decode(torch.from_numpy(states.z[0])).numpy() == pytest.approx(wanted[:, 1:], abs=1e-4)
    assert matrix_from_quat(states.root_quat_wxyz[0]) == pytest.approx(wanted[:, 0], abs=1e-5)
    assert states.translation_m[0] == pytest.approx(clip.root_translation_m[frames], abs=1e-5)
    plain = clips.at(np.array([0]), at)
    np.testing.assert_allclose(plain.swapped_z, states.z)


def test_beyond_the_ends_the_motion_is_held(clips: LatentClips) -> None:
    states = clips.at(np.array([2]), np.array([[-1.0, 0.0, 89 / 60, 99.0]]))
    np.testing.assert_allclose(states.z[0, 0], states.z[0, 1], atol=1e-6)
    np.testing.assert_allclose(states.z[0, 2], states.z[0, 3], atol=1e-5)


def test_cameras_see_their_target_in_front_and_turn_rigidly(clips: LatentClips) -> None:
    world = clips.at(np.array([0, 1]), np.tile(np.arange(10) / 10, (2, 1)))
    cameras = random_cameras(world.translation_m[:, 0], np.random.default_rng(0))
    seen = cameras.apply(world)
    assert seen.translation_m[:, 0, :2] == pytest.approx(np.zeros((2, 2)), abs=1e-5)
    assert seen.translation_m[:, 0, 2] == pytest.approx(cameras.distance_m, abs=1e-5)
    length = np.linalg.norm(np.diff(world.translation_m, axis=1), axis=-1)
    assert np.linalg.norm(np.diff(seen.translation_m, axis=1), axis=-1) == pytest.approx(length, abs=1e-5)
    up = rotate(cameras.quat_wxyz, np.tile(np.array([0, 1, 0], np.float32), (2, 1)))
    assert (up[:, 1] < -0.8).all()  # the camera's y points down


def test_halves_are_disjoint_and_take_each_motion_once() -> None:
    names = ["02_01.amc", "02_01.bvh", "02_02.bvh", "08_01.bvh#0", "08_01.bvh#90", "11_01.bvh"]
    first, second = held_out_halves([motion(name, frames=8) for name in names])
    assert [clip.name for clip in first] == ["02_01.amc", "08_01.bvh#0", "08_01.bvh#90"]
    assert [clip.name for clip in second] == ["02_02.bvh", "11_01.bvh"]


def test_clips_that_are_too_short_are_no_data(flow: PoseFlow) -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        LatentClips([motion("tiny", frames=3)], flow)


# ------------------------------------------------------------------ simulated observations


def test_white_noise_has_the_reported_size(clips: LatentClips) -> None:
    rng = np.random.default_rng(0)
    times = frame_times(60, np.full(40, 30.0), np.full(40, 0.2), rng)
    truth = clips.at(rng.integers(0, 3, 40), times)
    seen = observe(truth, times, WHITE, rng)
    ratio = (seen.z - truth.z) / seen.std[..., :63]
    assert np.square(ratio).mean() == pytest.approx(1.0, abs=0.06)
    away = (seen.translation_m - truth.translation_m).std((0, 1))
    assert away[2] == pytest.approx(4 * away[0], rel=0.15)
    assert not seen.missing.any() and not seen.gross.any()


def test_correlated_noise_repeats_itself(clips: LatentClips) -> None:
    rng = np.random.default_rng(0)
    times = frame_times(60, np.full(40, 30.0), np.zeros(40), rng)
    truth = clips.at(rng.integers(0, 3, 40), times)
    noise = replace(WHITE, correlated_share=1.0, correlation_s=0.2, spread=0.0)
    error = observe(truth, times, noise, rng).z - truth.z
    repeat = (error[:, 1:] * error[:, :-1]).mean() / np.square(error).mean()
    assert repeat == pytest.approx(np.exp(-1 / 30 / 0.2), abs=0.02)


@pytest.mark.parametrize(("noise", "share"), [(SWAPS, 0.03), (OUTLIERS, 0.04)])
def test_gross_errors_come_as_often_as_asked(clips: LatentClips, noise: NoiseModel, share: float) -> None:
    rng = np.random.default_rng(1)
    times = frame_times(90, np.full(120, 30.0), np.zeros(120), rng)
    seen = observe(clips.at(np.zeros(120, int), times), times, noise, rng)
    assert seen.gross.mean() == pytest.approx(share, rel=0.35)


def test_a_swap_mirrors_the_pose_and_turns_it_about(clips: LatentClips) -> None:
    rng = np.random.default_rng(2)
    times = frame_times(90, np.full(20, 30.0), np.zeros(20), rng)
    truth = clips.at(np.zeros(20, int), times)
    seen = observe(truth, times, SWAPS.scaled(1e-4), rng)
    at = np.argwhere(seen.gross)[0]
    row = tuple(at)
    assert seen.z[row] == pytest.approx(truth.swapped_z[row], abs=1e-3)
    half_turn = multiply(truth.root_quat_wxyz[row], np.array([0, 0, 1, 0], np.float32))
    assert abs(float(seen.root_quat_wxyz[row] @ half_turn)) == pytest.approx(1.0, abs=1e-4)


def test_frame_times_keep_the_rate_and_never_go_back() -> None:
    rng = np.random.default_rng(0)
    times = frame_times(200, np.array([12.0, 60.0]), np.array([0.0, 0.4]), rng)
    assert (np.diff(times) > 0).all() and np.all(times[:, 0] == 0)
    assert np.diff(times).mean(1) == pytest.approx([1 / 12, 1 / 60], rel=0.05)


# ------------------------------------------------------------------ recorded observations


def test_a_recording_is_what_was_saved(clips: LatentClips, tmp_path: Path) -> None:
    made, path = recording(clips), tmp_path / "observations.npz"
    made.save(path)
    found = RecordedObservations.load(path)
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert len(RecordedObservations.joined([made, found])) == 6
    with pytest.raises(ValueError, match="one rate and length"):
        RecordedObservations.joined([made, replace(made, fps=30.0)])
    np.savez(path, z=made.z)
    with pytest.raises(ValueError, match="trainer.prepare.record_observations"):
        RecordedObservations.load(path)


def test_recorded_sequences_are_stretches_of_the_recording(clips: LatentClips) -> None:
    recorded = recording(clips)
    data = recorded_batch(recorded, batch=64, steps=12, rng=np.random.default_rng(0))
    step = np.diff(data.times_s.numpy(), axis=1)
    assert step.min() >= 1 / 60 - 1e-9 and 1 / 60 <= step.mean() <= 1 / 8
    assert len(np.unique(step.mean(1).round(3))) > 20, "many rates"
    assert not data.missing[:, 0].any() and 0.01 < data.missing.float().mean() < 0.25
    whole = data.valid.all(1)
    assert 0.5 < whole.float().mean() <= 1.0
    offset = (data.observed.z - data.truth.z)[:, 0, 0].abs()
    assert float(offset.max()) == pytest.approx(0.5, abs=1e-5) and 0.24 < float(offset.min()) < 0.4
    weaker = offset / 0.5
    factor = data.std[:, 3, 5] / (0.4 * weaker)
    assert float(factor.log().std()) == pytest.approx(0.25, abs=0.06)
    torch.testing.assert_close(data.std[:, 0, 60], data.std[:, 3, 5])
    too_far = (data.observed.translation_m - data.truth.translation_m)[:, 4, 2]
    torch.testing.assert_close(too_far.abs(), 0.2 * weaker, atol=1e-4, rtol=1e-3)
    assert 15 < int((too_far > 0).sum()) < 49, "either sign"
    turned = (data.observed.root_quat_wxyz * data.truth.root_quat_wxyz).sum(-1)[:, 2]
    torch.testing.assert_close(2 * torch.acos(turned.clamp(max=1)), 0.1 * weaker, atol=2e-3, rtol=1e-2)


def test_truth_ahead_is_the_truth_of_the_later_frame(clips: LatentClips) -> None:
    recorded = recording(clips)
    recorded.z[:] = np.arange(90)[None, :, None]  # the frame's number
    data = recorded_batch(recorded, batch=16, steps=6, rng=np.random.default_rng(1))
    passed = (data.ahead.z - data.truth.z)[..., 0][data.ahead_valid].abs() / 60
    torch.testing.assert_close(passed, data.lead_s[data.ahead_valid], atol=1e-4, rtol=1e-4)
    assert float(data.lead_s.max()) <= 0.5


def test_recorded_people_are_moved_elsewhere_with_all_that_was_seen_of_them(clips: LatentClips) -> None:
    recorded = recording(clips)
    recorded.z[:], recorded.seen_z[:] = 1.0, 1.5
    recorded.root_quat_wxyz[:] = [1, 0, 0, 0]
    data = recorded_batch(recorded, batch=200, steps=4, rng=np.random.default_rng(3))
    torch.testing.assert_close(data.truth.z, data.truth.z[:, :1].expand(-1, 4, -1))
    for sign in (-1, 1):
        side = data.truth.z[torch.sign(data.observed.z - data.truth.z)[:, 0, 0] == sign]
        assert 70 < len(side) < 130
        assert float(side.mean()) == pytest.approx(sign, abs=0.05)
        assert float(side.std()) == pytest.approx(0.5, abs=0.05)
    root = data.truth.root_quat_wxyz[:, 0].numpy()
    assert np.abs(root[:, [1, 3]]).max() == 0 and np.abs(root[:, 2]).max() > 0.9


def test_what_the_latents_report_does_not_tell_the_clip(clips: LatentClips) -> None:
    recorded = recording(clips)
    recorded.std[:] = np.array([1, 2, 3])[:, None, None]
    data = recorded_batch(recorded, batch=90, steps=3, rng=np.random.default_rng(4))
    latent, place = data.std[:, 0, 0], data.std[:, 0, -1]
    same = (latent / place - 1).abs() < 1e-5
    assert 0.2 < float(same.float().mean()) < 0.5, "of three clips, as often the same one as by chance"


def test_before_a_drifting_camera_everything_moves_alike(clips: LatentClips) -> None:
    data = recorded_batch(recording(clips), batch=80, steps=5, rng=np.random.default_rng(5))
    moved = drifting(data, np.random.default_rng(6))
    gone = moved.truth.translation_m - data.truth.translation_m
    torch.testing.assert_close(moved.observed.translation_m - data.observed.translation_m, gone)
    speed = gone[:, -1] / data.times_s[:, -1:].float()
    still = (speed == 0).all(1)
    assert 25 < int(still.sum()) < 55 and float(speed[~still].std()) == pytest.approx(0.7, rel=0.15)
    torch.testing.assert_close(gone[:, 2], speed * data.times_s[:, 2:3].float(), atol=1e-5, rtol=1e-4)
    ahead = (moved.ahead.translation_m - data.ahead.translation_m)[:, 1]
    after_s = (data.times_s.float() + data.lead_s)[:, 1:2]
    torch.testing.assert_close(ahead, speed * after_s, atol=1e-5, rtol=1e-4)


def test_half_of_a_batch_is_recorded(clips: LatentClips) -> None:
    recorded = replace(recording(clips), std=np.full((3, 90, 69), 999.0, np.float32))
    data = draw_batch(clips, batch=9, steps=6, rng=np.random.default_rng(2), recorded=recorded)
    assert len(data.times_s) == len(data.observed.z) == 9
    assert int((data.std[:, 0, 0] > 40).sum()) == 4


# ------------------------------------------------------------------ the unrolled filter


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


def test_a_run_repeats_itself_and_resumes(motions: Motions, flow: PoseFlow, tmp_path: Path) -> None:
    config, path = replace(CONFIG, steps=4), tmp_path / "parts"

    def trained(folder: Path, **loop: int) -> LatentDynamics:
        run = new_run(motions, flow, config, folder)
        return train(run, config, flow, motions, motions, **loop)

    whole = trained(tmp_path / "whole")
    trained(path, stop_after=2)
    parts = trained(path)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value)
    with pytest.raises(ValueError, match="another configuration: steps changed"):
        new_run(motions, flow, replace(CONFIG, steps=5), path)
    other = PoseFlow(FlowConfig(depth=1, hidden=8)).eval().requires_grad_(False)
    with pytest.raises(ValueError, match="another configuration: flow changed"):
        new_run(motions, other, config, path)


def test_training_improves(motions: Motions, flow: PoseFlow, tmp_path: Path) -> None:
    run = new_run(motions, flow, CONFIG, tmp_path)
    before = evaluate(run.averaged(), flow, motions, batch=64, frames=10, batches=1)
    train(run, CONFIG, flow, motions, motions)
    after = evaluate(run.averaged(), flow, motions, batch=64, frames=10, batches=1)
    assert after["total"] < 0.9 * before["total"]
    assert after["recorded_total"] < 0.9 * before["recorded_total"]


def test_a_run_starts_from_given_weights(motions: Motions, flow: PoseFlow, tmp_path: Path) -> None:
    torch.manual_seed(3)
    start = LatentDynamics(CONFIG.dynamics)
    run = new_run(motions, flow, CONFIG, tmp_path, init=start)
    for found in (run.network, run.averaged()):
        for name, value in start.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], value)


def test_calibrated_intervals_cover_nine_of_ten(clips: LatentClips, flow: PoseFlow) -> None:
    torch.manual_seed(0)
    dynamics = LatentDynamics(DynamicsConfig(hidden=8)).requires_grad_(False)
    calibrate(dynamics, Motions(clips), batches=3)
    data = draw_batch(clips, batch=128, steps=40, rng=np.random.default_rng(5))
    (_, error, variance, valid), _ = unroll(dynamics, data).residuals(data)
    inside = error.abs() <= 1.645 * variance.sqrt() * dynamics.std_scale[0]
    assert float(inside[valid].float().mean()) == pytest.approx(0.9, abs=0.06)


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
    dynamics = LatentDynamics(DynamicsConfig(hidden=8)).requires_grad_(False)
    dynamics.head.weight.zero_()
    dynamics.head.bias.zero_()
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
    dynamics = LatentDynamics(DynamicsConfig(hidden=8)).requires_grad_(False)
    dynamics.head.weight.zero_()
    dynamics.head.bias.zero_()

    def losses(late_s: float, recorded: float) -> dict[str, float]:
        seen = data.truth._replace(translation_m=at - late_s * velocity[:, None])
        part = replace(data, observed=seen, recorded=torch.full_like(data.recorded, recorded))
        return unrolled_losses(dynamics, flow, part, np.random.default_rng(1)).numbers()

    late, early = losses(0.05, 0.0), losses(-0.05, 0.0)
    assert late["place_lag_s"] == pytest.approx(0.05, abs=0.005)
    assert early["place_lag_s"] == pytest.approx(-0.05, abs=0.005)
    assert late["total"] > early["total"] + 0.3
