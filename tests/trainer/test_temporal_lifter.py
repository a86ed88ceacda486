"""The temporal lifter: simulated observations, its two forms, its training, what the filter gets from it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.arrays import read_body
from kinestream.body.model import BodyModel
from kinestream.filtering.base import PersonState
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.filtering.temporal_lifter import FORMAT, LAGS_S, NEARER, LifterWeights
from kinestream.filtering.temporal_lifter import TemporalLifter as OnePerson
from kinestream.geometry.rotation import matrix_from_axis_angle, matrix_from_quat
from kinestream.latent.flow import PoseFlow, flow_fingerprint
from kinestream.latent.flow_map import FlowMap
from kinestream.networks.weight_files import save_weights
from kinestream.regress.lifter import Lifter
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.dynamics.evidence import PLANE_CAMERA, seen_frames
from kinestream.trainer.dynamics.keypoint_windows import random_windows, simulated_windows, windows_at
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator, towards
from kinestream.trainer.dynamics.temporal_lifter import LiftingLoss, TemporalLifter, train
from kinestream.trainer.prepare.update_observations import updated
from kinestream.trainer.run_state import TrainingRun

FRAMES, FPS = 80, 60.0


def motion(name: str, seed: int) -> MotionClip:
    rng = np.random.default_rng(seed)
    t = np.arange(150)[:, None, None] / FPS
    swing = 0.4 * rng.standard_normal((22, 3)) * np.sin(2 * np.pi * rng.uniform(0.3, 1.2, (22, 1)) * t)
    place = np.stack([0.7 * t[:, 0, 0], 0.9 + 0 * t[:, 0, 0], 0 * t[:, 0, 0]], -1)
    return MotionClip(name, matrix_from_axis_angle(swing), place, FPS)


@pytest.fixture(scope="module")
def flow() -> PoseFlow:
    return PoseFlow.load()


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def errors() -> KeypointErrors:
    draw = torch.Generator().manual_seed(0)
    return KeypointErrors(
        0.04 * torch.randn(60, 23, 2, generator=draw),
        torch.rand(60, 23, generator=draw) < 0.02,
        torch.rand(60, 23, generator=draw),
    )


@pytest.fixture(scope="module")
def simulate(flow: PoseFlow, body: BodyModel, errors: KeypointErrors) -> ObservationSimulator:
    torch.manual_seed(0)
    return ObservationSimulator([motion("a", 0), motion("b", 1)], flow, body, Lifter(flow.dim), errors)


@pytest.fixture(scope="module")
def recorded(simulate: ObservationSimulator) -> RecordedObservations:
    return simulate(4, frames=FRAMES, fps=FPS, seed=(3, 1))


@pytest.fixture(scope="module")
def lifter(flow: PoseFlow) -> TemporalLifter:
    torch.manual_seed(1)
    network = TemporalLifter(flow.dim, hidden=48, depth=2)
    for layer in (network.past, network.state, network.gain, network.log_std):
        torch.nn.init.normal_(layer.weight, std=0.05)
        torch.nn.init.normal_(layer.bias, std=0.05)
    return network.eval()


@pytest.fixture(scope="module")
def weights(lifter: TemporalLifter, tmp_path_factory: pytest.TempPathFactory) -> LifterWeights:
    path = tmp_path_factory.mktemp("lifter") / "temporal_lifter.safetensors"
    save_weights(path, lifter, kind=FORMAT, config={}, halved=lambda name, value: False)
    return LifterWeights.load(path)


def test_simulated_keypoints_lie_on_the_true_body(flow: PoseFlow, body: BodyModel) -> None:
    exact = ObservationSimulator([motion("a", 0)], flow, body, Lifter(flow.dim), None)
    found = exact(2, frames=FRAMES, fps=FPS, seed=(1,))
    rotations = torch.cat(
        [
            matrix_from_quat(torch.from_numpy(found.root_quat_wxyz)).flatten(0, 1)[:, None],
            flow.decode(torch.from_numpy(found.z).flatten(0, 1)),
            torch.eye(3).expand(2 * FRAMES, 2, 3, 3),
        ],
        1,
    )
    betas = torch.from_numpy(found.betas).repeat_interleave(FRAMES, 0)
    _, keypoints = body.skeleton(betas, rotations, torch.from_numpy(found.translation_m).flatten(0, 1))
    plane = (keypoints[..., :2] / keypoints[..., 2:]).numpy()
    assert np.abs(plane - found.keypoints[..., :2].reshape(plane.shape)).max() < 2e-3
    assert (found.keypoints[..., 2] == 1).all()
    size = np.ptp(plane, axis=1).max(1) / 2
    assert np.allclose(found.half_box.ravel() / size, 1.08, atol=0.15)


def test_simulated_observations_follow_their_seed(simulate: ObservationSimulator) -> None:
    a, b, c = (simulate(2, frames=10, fps=FPS, seed=seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(a.keypoints, b.keypoints)
    assert np.array_equal(a.seen_z, b.seen_z)
    assert not np.array_equal(a.keypoints, c.keypoints)


def test_errors_of_neighbouring_frames_are_alike(
    simulate: ObservationSimulator, errors: KeypointErrors
) -> None:
    found = simulate(40, frames=40, fps=FPS, seed=(7,), varied=False)
    confidence = found.keypoints[..., 2]
    inside = (confidence > 0.3).all(1)[:, None]  # others may have been at the edge of a crop

    def change(steps: int) -> float:
        return float(np.square(confidence[:, steps:] - confidence[:, :-steps]).mean(where=inside))

    assert 0 < change(1) < 0.8 * change(30) < change(30) < 1.6 * np.var(errors.confidence.numpy())


@pytest.mark.parametrize("frame", [0, 2, 30, 40, 78])
def test_the_numpy_form_is_the_torch_form(
    recorded: RecordedObservations, lifter: TemporalLifter, weights: LifterWeights, frame: int
) -> None:
    one = OnePerson(weights)
    for at, (t_ns, _, state, evidence) in enumerate(seen_frames(recorded, 1)):
        if at % 2 or at > frame:
            continue
        found = one.correct(t_ns, state, evidence)
    window = windows_at(recorded, torch.tensor([1]), torch.tensor([frame]), torch.tensor([30.0]))
    with torch.no_grad():
        z, root, z_log_std, root_log_std = lifter(window)
    turn = towards(torch.from_numpy(recorded.seen_translation_m[1, frame]))
    quat = torch.from_numpy(np.asarray(found.root_quat_wxyz, np.float32))
    assert np.abs(found.z - z[0].numpy()).max() < 1e-5
    assert (turn @ root[0] - matrix_from_quat(quat)).abs().max() < 1e-5
    assert np.allclose(found.z_std, z_log_std[0].exp().numpy(), rtol=1e-5)
    assert found.root_std_rad == pytest.approx(float(root_log_std.exp()), rel=1e-5)


def test_the_past_matters_and_is_forgotten(recorded: RecordedObservations, weights: LifterWeights) -> None:
    frames = list(seen_frames(recorded, 0))
    one, fresh = OnePerson(weights), OnePerson(weights)
    for t_ns, _, state, evidence in frames[:-1]:
        one.correct(t_ns, state, evidence)
    t_ns, _, state, evidence = frames[-1]
    alone = fresh.correct(t_ns, state, evidence)
    assert np.abs(one.correct(t_ns, state, evidence).z - alone.z).max() > 1e-3
    later = t_ns + 10**10
    assert np.array_equal(one.correct(later, state, evidence).z, alone.z)
    one.reset()
    assert np.array_equal(one.correct(later + 1, state, evidence).z, alone.z)


def test_what_shows_nobody_or_comes_late_changes_nothing(
    recorded: RecordedObservations, weights: LifterWeights
) -> None:
    t_ns, _, state, evidence = next(iter(seen_frames(recorded, 0)))
    one = OnePerson(weights)
    broken, unseen = evidence.keypoints_px.copy(), evidence.keypoints_px.copy()
    broken[3, 0], unseen[:, 2] = np.nan, 0
    for points in (broken, unseen):
        assert one.correct(t_ns, state, evidence._replace(keypoints_px=points)) is state
    changed = one.correct(t_ns, state, evidence)
    assert changed is not state
    assert one.correct(t_ns, state, evidence) is state  # the same picture again


def test_a_camera_that_turns_changes_nothing(recorded: RecordedObservations, weights: LifterWeights) -> None:
    frames = list(seen_frames(recorded, 2))[::2]
    still, turning = OnePerson(weights), OnePerson(weights)
    for index, (t_ns, _, state, evidence) in enumerate(frames):
        pan = np.asarray(matrix_from_axis_angle(np.array([0.0, 0.004 * index, 0.0])))
        points = evidence.keypoints_px.copy()
        rays = PLANE_CAMERA.unproject(points[:, :2]) @ pan.T
        points[:, :2] = PLANE_CAMERA.project(rays)
        moved = PersonState(**vars(state) | {"translation_m": (pan @ state.translation_m).astype(np.float32)})
        # the smallest rotation to the pelvis keeps its roll but for second order
        a = still.correct(t_ns, state, evidence)
        half = np.array([np.cos(0.002 * index), 0, np.sin(0.002 * index), 0])
        w, v = half[0], half[1:]
        q = np.asarray(state.root_quat_wxyz, np.float64)
        turned = np.concatenate([[w * q[0] - v @ q[1:]], w * q[1:] + q[0] * v + np.cross(v, q[1:])])
        moved = PersonState(**vars(moved) | {"root_quat_wxyz": turned.astype(np.float32)})
        b = turning.correct(t_ns, moved, evidence._replace(keypoints_px=points))
    assert np.abs(a.z - b.z).max() < 0.02
    assert np.abs(a.z - state.z).max() > 0.05


def test_young_tracks_lack_a_past(recorded: RecordedObservations) -> None:
    first = windows_at(recorded, torch.tensor([0]), torch.tensor([6]), torch.tensor([30.0]))
    seen = first.past_confidence[0].amax(1) > 0
    assert seen.tolist() == [True, True, True, False, False, False]
    expected = torch.tensor(LAGS_S)
    expected[2] = 0.1  # the oldest picture is near enough
    assert torch.allclose(first.lag_s[0], expected, atol=1e-6)
    many = random_windows(recorded, 400, torch.Generator().manual_seed(0))
    share = (many.past_confidence.amax(2) > 0).float().mean(0)
    assert (share.diff() <= 0.02).all()
    assert 0.1 < share[-1] < share[0] < 1


def test_windows_of_uneven_moments_are_those_of_clips(flow: PoseFlow, body: BodyModel) -> None:
    torch.manual_seed(0)
    exact = ObservationSimulator([motion("a", 0)], flow, body, Lifter(flow.dim), None)
    seen = simulated_windows(exact, 30, torch.Generator().manual_seed(2), varied=False)
    assert (seen.past_confidence == 1).all()
    ratio = seen.lag_s / torch.tensor(LAGS_S)
    assert ratio.min() > NEARER
    assert ratio.median() == pytest.approx(1.0, abs=0.05)
    moved = (seen.past - seen.points[:, None]).norm(dim=-1).mean((0, 2))
    assert 0 < moved[0] < moved[2] < moved[4]
    pelvis = (seen.points[:, 11:13].mean(1)).norm(dim=-1)
    assert pelvis.median() < 1.0  # a lifter that has learned nothing looks somewhere near


def test_training_learns_and_goes_on_where_it_stopped(
    flow: PoseFlow,
    body: BodyModel,
    simulate: ObservationSimulator,
    recorded: RecordedObservations,
    tmp_path: Path,
) -> None:
    loss = LiftingLoss(flow, body)

    def run(folder: str, stop_after: int | None) -> TrainingRun:
        torch.manual_seed(0)
        network = TemporalLifter(flow.dim, hidden=32, depth=1)
        training = TrainingRun(
            tmp_path / folder, network, torch.optim.AdamW(network.parameters(), lr=2e-3), average_decay=0.5
        )
        training.resume()
        seen = {"same": random_windows(recorded, 64, torch.Generator().manual_seed(1))}
        train(
            training, loss, simulate, [recorded], seen, steps=30, batch_size=16, recorded_share=0.5,
            peak_rate=2e-3, stop_after=stop_after, log_every=10, validate_every=15,
        )  # fmt: skip
        return training

    whole = run("whole", None)
    figures = whole.history("mpjpe_mm")[-1]
    assert figures["mpjpe_mm"] < figures["single_mpjpe_mm"]
    run("parts", 15)
    parts = run("parts", None)
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_filter_gets_what_lifter_and_update_leave(
    recorded: RecordedObservations, weights: LifterWeights, flow: PoseFlow
) -> None:
    update = KeypointUpdate(read_body(), FlowMap(flow))
    few = RecordedObservations(
        **{
            name: value
            if name in ("fps",)
            else value[:1]
            if value.ndim == 2 and len(value[0]) == 10
            else value[:1, :5]
            for name, value in vars(recorded).items()
        }
    )
    few.missing[0, 2] = True
    found = updated(few, update, OnePerson(weights))
    one = OnePerson(weights)
    t_ns, _, state, evidence = next(iter(seen_frames(few, 0)))
    expected = update(one.correct(t_ns, state, evidence), evidence).state
    assert np.allclose(found.seen_z[0, 0], expected.z, atol=1e-6)
    assert np.allclose(found.std[0, 0, :63], expected.z_std)
    assert np.array_equal(found.seen_z[0, 2], few.seen_z[0, 2])  # missed
    assert np.array_equal(found.z, few.z)


def test_a_lifter_of_another_flow_is_refused(weights: LifterWeights, flow: PoseFlow) -> None:
    from kinestream.models import Models

    models = Models.load(engine="torch")
    assert models.temporal_lifter is not None
    assert models.temporal_lifter.flow_id == flow_fingerprint(flow) == models.decoder.flow_id
    with pytest.raises(ValueError, match="temporal lifter belongs to flow unknown"):
        Models(**vars(models) | {"temporal_lifter": weights})
