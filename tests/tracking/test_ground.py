"""Gravity and floor by the body alone: posture, walking, how fast it may change, and known heights."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinestream.body.arrays import BodyArrays, read_body
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.stature import Stature
from kinestream.filtering import PersonState
from kinestream.geometry.level import level_from_camera
from kinestream.tracking.association import Track
from kinestream.tracking.ground import (
    DRAWN_RAD,
    MAX_TRACKS,
    SETTLED_M_PER_S,
    SETTLED_RAD_PER_S,
    GroundEstimator,
    Seen,
    corrected,
    posture,
)
from kinestream.tracking.known_heights import KnownHeights

STEP_NS = 100_000_000
Points = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def body() -> BodyArrays:
    return read_body()


@pytest.fixture(scope="module")
def rest(body: BodyArrays) -> Points:
    """Joints and keypoints of the T-pose, y up, soles at 0."""
    joints, keypoints = CompiledKinematics.of(body).pose(np.tile(np.eye(3), (24, 1, 1)), np.zeros(3))
    lowest = keypoints[:, 1].min()
    return joints - [0, lowest, 0], keypoints - [0, lowest, 0]


def seen(rest: Points, tilt: float, roll: float, place: tuple[float, float], heading: float = 0.0) -> Seen:
    """Somebody upright on the floor 1.5 m below a camera, (x, z) m away."""
    stand = np.diag([1.0, -1.0, -1.0]) @ Rotation.from_euler("y", heading).as_matrix()
    level = [points @ stand.T + [place[0], 1.5, place[1]] for points in rest]
    turn = level_from_camera(tilt, roll)
    return Seen(level[0] @ turn, level[1] @ turn, np.ones((23, 3)))


def angle(one: np.ndarray, other: np.ndarray) -> float:
    return math.degrees(math.acos(np.clip(one @ other, -1, 1)))


def true_up(tilt: float, roll: float) -> np.ndarray:
    return -level_from_camera(tilt, roll)[1]


def test_posture_turns_with_the_body_and_doubts_who_bends(rest: Points) -> None:
    turn = Rotation.from_rotvec([0.3, -1.0, 0.7]).as_matrix()
    (up, std), (turned, same) = posture(rest[0]), posture(rest[0] @ turn.T)
    np.testing.assert_allclose(turned, turn @ up, atol=1e-9)
    assert same == pytest.approx(std) and angle(up, np.array([0, 1.0, 0])) < 6
    bent = rest[0].copy()
    bent[[3, 6, 9, 12, 13, 14, 15]] = (
        Rotation.from_euler("x", 60, degrees=True).apply(bent[[3, 6, 9, 12, 13, 14, 15]] - bent[0]) + bent[0]
    )
    assert posture(bent)[1] > 3 * std


def test_the_correction_moves_along_the_line_of_sight_and_keeps_the_order() -> None:
    sight = np.array([0.0, 0.0, 1.0])
    found = []
    for degrees in range(-60, 61, 5):
        up = -np.array([0, math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
        moved = corrected(up, sight)
        assert np.linalg.norm(moved) == pytest.approx(1) and moved[0] == pytest.approx(0)
        assert angle(moved, up) <= math.degrees(DRAWN_RAD) + 1e-6
        found.append(math.asin(-moved[2]))
    assert found == sorted(found)


@pytest.mark.parametrize(("tilt", "roll"), [(0.0, 0.0), (0.6, 0.4), (-0.4, -0.4), (0.2, 1.5)])
def test_gravity_and_floor_of_somebody_who_walks_about(rest: Points, tilt: float, roll: float) -> None:
    estimator = GroundEstimator()
    for step in range(60):
        across, away = 1.2 * math.sin(step / 9), 4 + 1.5 * math.cos(step / 9)
        ground = estimator.update(step * STEP_NS, {3: seen(rest, tilt, roll, (across, away), step / 9)})
    assert ground is not None and estimator.settled
    assert angle(ground.up, true_up(tilt, roll)) < 2, "closer than the posture of a T-pose is"
    assert ground.std_rad < math.radians(3)
    assert ground.height_m == pytest.approx(1.5, abs=0.15)
    standing = GroundEstimator()
    for step in range(60):
        stood = standing.update(step * STEP_NS, {3: seen(rest, tilt, roll, (0, 4))})
    assert stood is not None and math.radians(4) < stood.std_rad, "time alone makes posture no surer"


def test_once_settled_it_changes_slowly_and_never_jumps(rest: Points) -> None:
    estimator = GroundEstimator()
    assert estimator.update(0, {}) is None
    with pytest.raises(RuntimeError, match="nobody was seen yet"):
        estimator.estimate()
    grounds = []
    for step in range(200):
        tilt = 0.5 if step < 60 else -0.3  # the camera was hit
        ground = estimator.update((step + 1) * STEP_NS, {step // 90: seen(rest, tilt, 0.0, (0, 4))})
        assert ground is not None
        grounds.append(ground)
    for before, after in pairwise(grounds[60:]):
        assert angle(before.up, after.up) <= 0.1 * math.degrees(SETTLED_RAD_PER_S) + 1e-4
        assert abs(after.height_m - before.height_m) <= 0.1 * SETTLED_M_PER_S + 1e-9
    assert angle(grounds[60].up, grounds[-1].up) > 5, "it follows"
    alone = estimator.update(202 * STEP_NS, {})
    assert alone is not None and angle(alone.up, grounds[-1].up) <= math.degrees(SETTLED_RAD_PER_S)
    estimator.reset()
    assert estimator.ground is None and not estimator.settled


def test_many_people_come_and_go(rest: Points) -> None:
    estimator = GroundEstimator()
    for step in range(3 * MAX_TRACKS):
        ground = estimator.update(
            step * STEP_NS, {step: seen(rest, 0.3, 0.1, (step % 3 - 1.0, 4 + step % 2))}
        )
    assert ground is not None and len(estimator._people) == MAX_TRACKS
    assert angle(ground.up, true_up(0.3, 0.1)) < 8


@pytest.mark.parametrize("height_m", [1.2, 1.55, 1.95])
def test_a_shape_of_known_height(body: BodyArrays, height_m: float) -> None:
    stature = Stature(body)
    betas = np.random.default_rng(3).normal(size=10).astype(np.float32)
    found = stature.with_height(betas, height_m)
    vertices = body.v_template + body.shapedirs @ found
    assert np.ptp(vertices[:, 1]) == pytest.approx(height_m, abs=0.015)
    assert stature.height_m(found) == pytest.approx(height_m, abs=1e-4)
    assert stature.std_left.min() < 0.2 and (stature.std_left > 0.7).sum() == 9, (
        "the other components stay free"
    )


def state_of(depth_m: float) -> PersonState:
    ones = np.ones(63, np.float32)
    place, betas = np.float32([0.1, 0, depth_m]), np.zeros(10, np.float32)
    return PersonState(ones, ones, np.float32([0, 1, 0, 0]), 0.1, place, 0.1 * place, betas, 1 + betas)


def track_at(left_px: float, track_id: int) -> Track:
    track = Track(np.float32([left_px, 0, left_px + 50, 200]), 0, 0, score=1.0)
    track.track_id = track_id
    return track


def test_heights_go_to_people_from_left_to_right_and_come_back(body: BodyArrays) -> None:
    stature = Stature(body)
    heights = KnownHeights(stature, [1.9, 1.5])
    right, left, late, doubtful = (track_at(*pair) for pair in ((300, 0), (20, 1), (0, 2), (9, -1)))
    assert heights.of(doubtful) == 1.9
    heights.assign([right, left, doubtful])
    assert (heights.of(left), heights.of(right), heights.of(doubtful)) == (1.9, 1.5, None)
    scaled = heights.scaled(left, state_of(3))
    ratio = 1.9 / stature.height_m(np.zeros(10, np.float32))
    np.testing.assert_allclose(scaled.translation_m, np.float32([0.1, 0, 3]) * ratio, rtol=1e-5)
    assert stature.height_m(scaled.betas) == pytest.approx(1.9, abs=1e-4)
    heights.assign([right, late])
    assert heights.of(late) == 1.9 and heights.of(right) == 1.5
    extra = track_at(500, 7)
    heights.assign([right, late, extra])
    assert heights.scaled(extra, state := state_of(2)) is state
    common = KnownHeights(stature, 1.7)
    common.assign([right, late, extra])
    assert {common.of(track) for track in (right, late, extra, doubtful)} == {1.7}
    with pytest.raises(ValueError, match="height: expected 0.8 to 2.5 m, found 180"):
        KnownHeights(stature, [1.8, 180])
