"""The measurement update on people: it brings bodies to their keypoints and never makes a state worse."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.body.arrays import read_body
from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.filtering.keypoint_filter import KeypointFilter
from kinestream.filtering.keypoint_noise import KeypointNoise
from kinestream.filtering.keypoint_update import KeypointUpdate, Updated
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.geometry.camera import Camera
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.tracking.poser import BodyPoser

CAMERA = Camera.from_fov(640, 480)
SIDE_PX = 260.0
ARMS = ([7, 9], [8, 10])
Points = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def parts() -> tuple[KeypointUpdate, BodyPoser]:
    body, flow_map = read_body(), FlowMap(PoseFlow.load())
    return KeypointUpdate(body, flow_map), BodyPoser(body, flow_map)


def person(seed: int = 0, *, depth_m: float = 3.0, spread: float = 0.6) -> PersonState:
    rng = np.random.default_rng(seed)
    return PersonState(
        z=(spread * rng.normal(size=63)).astype(np.float32),
        z_std=np.full(63, 0.8, np.float32),
        root_quat_wxyz=np.array([0, 1, 0, 0], np.float32),
        root_std_rad=0.25,
        translation_m=np.array([0.1, -0.1, depth_m], np.float32),
        translation_std_m=np.array([0.02, 0.02, 0.3], np.float32),
        betas=np.zeros(10, np.float32),
        betas_std=np.ones(10, np.float32),
    )


def keypoints_of(poser: BodyPoser, state: PersonState, *, confidence: float = 0.9) -> Points:
    pixels = poser.pose([state])[0].keypoints_px(CAMERA)
    return np.concatenate([pixels, np.full((23, 1), confidence)], 1).astype(np.float64)


def moved(state: PersonState, seed: int = 1) -> PersonState:
    """A state near another one, as a network might see it."""
    rng = np.random.default_rng(seed)
    latent = (state.z + 0.5 * rng.normal(size=63)).astype(np.float32)
    place = (state.translation_m + rng.normal(size=3) * [0.01, 0.01, 0.2]).astype(np.float32)
    return PersonState(**{**vars(state), "z": latent, "translation_m": place})


def check_sane(updated: Updated, given_state: PersonState) -> None:
    state = updated.state
    assert updated.energy_after <= updated.energy_before
    for name, value in vars(state).items():
        assert value is None or np.isfinite(value).all(), name
    assert (state.z_std <= given_state.z_std * 1.0001).all()
    assert abs(float(np.linalg.norm(state.root_quat_wxyz)) - 1) < 1e-5


def gap_px(poser: BodyPoser, state: PersonState, keypoints: Points) -> float:
    return float(np.median(np.linalg.norm(keypoints_of(poser, state)[:, :2] - keypoints[:, :2], axis=1)))


def test_the_body_comes_to_its_keypoints(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    true = person()
    keypoints, seen = keypoints_of(poser, true), moved(true)
    updated = update(seen, KeypointEvidence(keypoints, CAMERA, SIDE_PX))
    check_sane(updated, seen)
    assert updated.used.all()
    assert gap_px(poser, updated.state, keypoints) < 0.25 * gap_px(poser, seen, keypoints)
    truth, before, after = (poser.pose([state])[0].joints_cam_m for state in (true, seen, updated.state))
    error = [float(np.linalg.norm(j - j[0] - truth + truth[0], axis=1).mean()) for j in (before, after)]
    assert error[1] < error[0]


def test_a_keypoint_holds_the_body_only_across_its_heat_map(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    """A wrist moved to the right: the body follows where the heat map is narrow there, and not along it."""
    update, poser = parts
    state = person()
    keypoints, wrist = keypoints_of(poser, state), KEYPOINT_NAMES.index("left_wrist")
    keypoints[wrist, 0] += 12
    moved_px = {}
    for name, spread in (("across", [4.0, 0.0, 3600.0]), ("along", [3600.0, 0.0, 4.0])):
        covariance = np.tile([4.0, 0.0, 4.0], (23, 1))
        covariance[wrist] = spread
        seen = KeypointEvidence(keypoints, CAMERA, SIDE_PX, covariance)
        updated = update(state, seen)
        check_sane(updated, state)
        moved_px[name] = keypoints_of(poser, updated.state)[wrist, 0] - keypoints[wrist, 0] + 12
    assert moved_px["across"] > 6 > 1 > moved_px["along"]


def test_round_heat_maps_are_deviations_of_every_direction(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    true = person()
    keypoints, seen = keypoints_of(poser, true), moved(true)
    noise = KeypointNoise(floor=0.0, share=1.0, share_slope=0.0, floors=(0.0,) * 23, slope=0.0)
    heat = np.tile([1.0, 0.0, 1.0], (23, 1)) * (noise.std * SIDE_PX) ** 2
    found = [
        KeypointUpdate(read_body(), update._flow, noise=noise)(
            seen, KeypointEvidence(keypoints, CAMERA, SIDE_PX, covariance)
        ).state
        for covariance in (None, heat)
    ]
    np.testing.assert_allclose(found[0].z, found[1].z, atol=1e-5)


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_a_keypoint_without_a_heat_map_goes_by_its_confidence(
    parts: tuple[KeypointUpdate, BodyPoser], unknown: float
) -> None:
    update, poser = parts
    true = person()
    keypoints, seen = keypoints_of(poser, true), moved(true)
    updated = [
        update(seen, KeypointEvidence(keypoints, CAMERA, SIDE_PX, covariance))
        for covariance in (None, np.full((23, 3), unknown))
    ]
    np.testing.assert_array_equal(updated[0].state.z, updated[1].state.z)
    covariance = np.tile([4.0, 0.0, 4.0], (23, 1))
    covariance[5] = unknown
    mixed = update(seen, KeypointEvidence(keypoints, CAMERA, SIDE_PX, covariance))
    check_sane(mixed, seen)
    assert mixed.used.all()


def test_joints_that_were_seen_are_surer_than_their_latents_say(
    parts: tuple[KeypointUpdate, BodyPoser],
) -> None:
    update, poser = parts
    state = person()
    updated = update(state, KeypointEvidence(keypoints_of(poser, state), CAMERA, SIDE_PX)).state
    share = updated.joint_std_share
    assert share is not None and (share >= 0).all() and (share <= 1).all()
    assert share[[7, 8, 20, 21]].mean() < 0.9  # ankles and wrists
    before, after = (poser.pose([given])[0].joint_std_m for given in (state, updated))
    assert (after <= before * 1.0001).all()
    filtered = KeypointFilter(Unfiltered(), update)
    filtered.observe(0, state, KeypointEvidence(keypoints_of(poser, state), CAMERA, SIDE_PX))
    assert filtered.predict(0).joint_std_share is not None


def test_nothing_seen_changes_nothing(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    state = person()
    for keypoints in (
        keypoints_of(poser, state, confidence=0.0),
        np.full((23, 3), np.nan),
        np.full((23, 3), np.inf),
    ):
        updated = update(state, KeypointEvidence(keypoints, CAMERA, SIDE_PX))
        assert updated.state is state
        assert not updated.used.any()


@pytest.mark.parametrize("depth_m", [-3.0, 0.0, 0.05])
def test_people_behind_or_at_the_camera_stay_as_they_are(
    parts: tuple[KeypointUpdate, BodyPoser], depth_m: float
) -> None:
    update, poser = parts
    keypoints = keypoints_of(poser, person())
    state = person(depth_m=depth_m)
    check_sane(update(state, KeypointEvidence(keypoints, CAMERA, SIDE_PX)), state)


def test_a_state_that_is_not_finite_is_handed_back(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    keypoints = keypoints_of(poser, person())
    broken = PersonState(**{**vars(person()), "translation_m": np.full(3, np.nan, np.float32)})
    assert update(broken, KeypointEvidence(keypoints, CAMERA, SIDE_PX)).state is broken
    for side in (0.0, -1.0, math.nan, math.inf):
        assert update(person(), KeypointEvidence(keypoints, CAMERA, side)).state.z[0] == person().z[0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    noise_px=st.sampled_from([0.0, 3.0, 40.0, 1e3, 1e6]),
    shown=st.sets(st.integers(0, 22), max_size=23),
    lost=st.sets(st.integers(0, 22), max_size=5),
    depth_m=st.sampled_from([0.3, 1.0, 3.0, 30.0, 300.0]),
    distorted=st.booleans(),
    swap=st.booleans(),
)
def test_no_keypoints_make_a_state_worse(
    parts: tuple[KeypointUpdate, BodyPoser],
    seed: int,
    noise_px: float,
    shown: set[int],
    lost: set[int],
    depth_m: float,
    distorted: bool,
    swap: bool,
) -> None:
    update, poser = parts
    rng = np.random.default_rng(seed)
    state = person(seed, depth_m=depth_m, spread=float(rng.uniform(0, 3)))
    keypoints = keypoints_of(poser, state)
    keypoints[:, :2] += noise_px * rng.normal(size=(23, 2))
    keypoints[:, 2] = 0.0
    keypoints[list(shown), 2] = rng.random(len(shown))
    keypoints[list(lost), 0] = np.nan
    if swap:
        keypoints[ARMS[0] + ARMS[1]] = keypoints[ARMS[1] + ARMS[0]]
    camera = Camera(640, 480, (500.0, 500.0), (320.0, 240.0), (-0.3, 0.1, 0.0, 0.0)) if distorted else CAMERA
    check_sane(update(state, KeypointEvidence(keypoints, camera, SIDE_PX)), state)


def test_swapped_arms_are_found(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    state = person()
    keypoints = keypoints_of(poser, state)
    keypoints[ARMS[0] + ARMS[1]] = keypoints[ARMS[1] + ARMS[0]]
    updated = update(state, KeypointEvidence(keypoints, CAMERA, SIDE_PX))
    assert updated.swapped == (True, False)
    assert gap_px(poser, updated.state, keypoints_of(poser, state)) < 2.0


def test_a_keypoint_that_jumps_is_not_used(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    keypoints = keypoints_of(poser, person())
    keypoints[9, :2] += 200.0
    updated = update(person(), KeypointEvidence(keypoints, CAMERA, SIDE_PX))
    assert not updated.used[9]
    assert updated.used.sum() == 22


def test_a_filter_with_keypoints_stays_on_the_person(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    with_keypoints, alone = KeypointFilter(LearnedFilter(), update), LearnedFilter()
    for frame in range(12):
        true = person()
        true = PersonState(**{**vars(true), "z": np.float32(true.z + 0.1 * frame)})
        keypoints, seen = keypoints_of(poser, true), moved(true, frame)
        t_ns = frame * 33_000_000
        with_keypoints.observe(t_ns, seen, KeypointEvidence(keypoints, CAMERA, SIDE_PX))
        alone.update(t_ns, seen)
    assert gap_px(poser, with_keypoints.predict(t_ns), keypoints) < 0.5 * gap_px(
        poser, alone.predict(t_ns), keypoints
    )
    late = t_ns + 5_000_000_000
    np.testing.assert_allclose(
        with_keypoints.predict(late).z, with_keypoints.motion.predict(late).z, atol=1e-4
    )


def test_without_a_filter_the_update_is_all(parts: tuple[KeypointUpdate, BodyPoser]) -> None:
    update, poser = parts
    keypoints, seen = keypoints_of(poser, person()), moved(person())
    found = KeypointFilter(Unfiltered(), update).observe(
        0, seen, KeypointEvidence(keypoints, CAMERA, SIDE_PX)
    )
    expected = update(seen, KeypointEvidence(keypoints, CAMERA, SIDE_PX)).state
    np.testing.assert_array_equal(found.z, expected.z)
