"""Pictures that stand alone: the body comes to its keypoints, and nothing is carried on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kinestream.body.arrays import read_body
from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.filtering.keypoint_noise import KeypointNoise
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.filtering.still import SURPRISE, StillFilter, fitted, for_stills, still_noise
from kinestream.filtering.temporal_lifter import LifterWeights
from kinestream.geometry.camera import Camera
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.tracking.poser import BodyPoser

CAMERA = Camera.from_fov(640, 480)
Parts = tuple[KeypointUpdate, BodyPoser]


@pytest.fixture(scope="module")
def parts() -> Parts:
    body, flow_map = read_body(), FlowMap(PoseFlow.load())
    return KeypointUpdate(body, flow_map, noise=still_noise(KeypointNoise())), BodyPoser(body, flow_map)


def person(latent: float = 0.6, *, seed: int = 0, std: float = 0.3) -> PersonState:
    rng = np.random.default_rng(seed)
    return PersonState(
        z=(latent * rng.normal(size=63)).astype(np.float32),
        z_std=np.full(63, std, np.float32),
        root_quat_wxyz=np.array([0, 1, 0, 0], np.float32),
        root_std_rad=0.1,
        translation_m=np.array([0.1, -0.1, 3.0], np.float32),
        translation_std_m=np.array([0.02, 0.02, 0.3], np.float32),
        betas=np.zeros(10, np.float32),
        betas_std=np.ones(10, np.float32),
    )


def evidence_of(poser: BodyPoser, state: PersonState) -> KeypointEvidence:
    exact = poser.pose([state])[0].keypoints_px(CAMERA)
    return KeypointEvidence(np.concatenate([exact, np.full((23, 1), 0.9)], 1), CAMERA, 260.0)


def gap_px(poser: BodyPoser, state: PersonState, evidence: KeypointEvidence) -> float:
    own = poser.pose([state])[0].keypoints_px(CAMERA)
    return float(np.linalg.norm(own - evidence.keypoints_px[:, :2], axis=1).mean())


def surprised(parts: Parts, seed: int = 1) -> tuple[PersonState, KeypointEvidence]:
    """A network that is surer than it may be, of somebody in another pose."""
    return person(seed=seed, std=0.15), evidence_of(parts[1], person(seed=100 + seed))


def test_a_surprising_pose_comes_nearer_than_by_one_update(parts: Parts) -> None:
    update, poser = parts
    gaps = []
    for seed in range(6):
        state, evidence = surprised(parts, seed)
        once, found = update(state, evidence), fitted(update, state, evidence)
        assert once.energy_after > SURPRISE * once.used.sum()
        gaps.append([gap_px(poser, now, evidence) for now in (once.state, found)])
    before, after = np.median(gaps, axis=0)
    assert after < 0.7 * before


def test_without_a_surprise_it_is_the_update(parts: Parts) -> None:
    update, poser = parts
    state = person(seed=1)
    evidence = evidence_of(poser, replace(state, z=state.z + np.float32(0.05)))
    once, found = update(state, evidence), fitted(update, state, evidence)
    assert once.energy_after < SURPRISE * once.used.sum()
    np.testing.assert_array_equal(found.z, once.state.z)
    np.testing.assert_array_equal(found.translation_m, once.state.translation_m)


def test_the_same_keypoints_again_make_nothing_surer(parts: Parts) -> None:
    state, evidence = surprised(parts)
    once, found = parts[0](state, evidence).state, fitted(parts[0], state, evidence)
    np.testing.assert_array_equal(found.z_std, once.z_std)
    np.testing.assert_array_equal(found.betas_std, once.betas_std)
    assert found.root_std_rad == once.root_std_rad


@pytest.mark.parametrize("spoil", [lambda k: k * np.nan, lambda k: k * [1, 1, 0]])
def test_without_keypoints_the_state_stays(parts: Parts, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    state, evidence = surprised(parts)
    found = fitted(parts[0], state, evidence._replace(keypoints_px=spoil(evidence.keypoints_px)))
    np.testing.assert_array_equal(found.z, state.z)


def test_what_was_seen_before_changes_nothing(parts: Parts) -> None:
    update, poser = parts
    lifter = LifterWeights.load()
    state, evidence = surprised(parts)
    used = for_stills(update, lifter)()
    for k in range(3):
        used.observe(k * 33_000_000, person(seed=5 + k), evidence_of(poser, person(seed=8 + k)))
    again = used.observe(100_000_000, state, evidence)
    fresh = StillFilter(update, lifter).observe(0, state, evidence)
    np.testing.assert_array_equal(again.z, fresh.z)
    np.testing.assert_array_equal(again.root_quat_wxyz, fresh.root_quat_wxyz)
    np.testing.assert_array_equal(used.predict(100_000_000).z, again.z)
