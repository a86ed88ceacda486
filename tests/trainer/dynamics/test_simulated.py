"""Trajectories and simulated observations, on small made-up motion."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinestream.geometry.rotation import matrix_from_quat
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.dynamics.clips import LatentClips, held_out_halves, multiply, random_cameras, rotate
from kinestream.trainer.dynamics.noise import OUTLIERS, SWAPS, WHITE, NoiseModel, frame_times, observe
from tests.trainer.dynamics.small_motion import motion


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
