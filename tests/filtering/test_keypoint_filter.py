"""A filter with the measurement update around it: on the person, calm, without lag, at any frame rate."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from kinestream.body.arrays import read_body
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.filtering.error_state import difference, mean_of
from kinestream.filtering.keypoint_filter import KeypointFilter
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.filtering.learned import LearnedFilter
from kinestream.geometry.camera import Camera
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.tools.metrics.motion import jitter
from kinestream.tracking.poser import BodyPoser

CAMERA = Camera.from_fov(640, 480)
SIDE_PX = 260.0
FRAME_NS = 33_333_333
Floats = npt.NDArray[np.float64]
Parts = tuple[KeypointUpdate, BodyPoser]


@pytest.fixture(scope="module")
def parts() -> Parts:
    body, flow_map = read_body(), FlowMap(PoseFlow.load())
    return KeypointUpdate(body, flow_map), BodyPoser(body, flow_map)


def person(*, x_m: float = 0.1, offset: float = 0.0) -> PersonState:
    """Somebody at ``x_m``; with an ``offset`` as a network sees him that errs the same way in every look."""
    rng = np.random.default_rng(0)
    latent = 0.6 * rng.normal(size=63) + offset * rng.normal(size=63)
    return PersonState(
        z=latent.astype(np.float32),
        z_std=np.full(63, 0.8, np.float32),
        root_quat_wxyz=np.array([0, 1, 0, 0], np.float32),
        root_std_rad=0.25,
        translation_m=np.array([x_m, -0.1, 3.0], np.float32),
        translation_std_m=np.array([0.02, 0.02, 0.3], np.float32),
        betas=np.zeros(10, np.float32),
        betas_std=np.ones(10, np.float32),
    )


def evidence_of(
    poser: BodyPoser, state: PersonState, noise_px: float = 0.0, seed: int = 0
) -> KeypointEvidence:
    exact = poser.pose([state])[0].keypoints_px(CAMERA)
    pixels = exact + noise_px * np.random.default_rng(seed).normal(size=exact.shape)
    return KeypointEvidence(np.concatenate([pixels, np.full((23, 1), 0.9)], 1), CAMERA, SIDE_PX)


def gap_px(poser: BodyPoser, state: PersonState, evidence: KeypointEvidence) -> float:
    own = poser.pose([state])[0].keypoints_px(CAMERA)
    return float(np.median(np.linalg.norm(own - evidence.keypoints_px[:, :2], axis=1)))


def filter_of(parts: Parts) -> KeypointFilter:
    return KeypointFilter(LearnedFilter(), parts[0])


@pytest.mark.parametrize("rate_hz", [15, 30, 60])
def test_it_comes_to_the_keypoints_of_a_still_person(parts: Parts, rate_hz: int) -> None:
    filtered, evidence = filter_of(parts), evidence_of(parts[1], person())
    seen = person(offset=0.5)
    for frame in range(2 * rate_hz):
        estimate = filtered.observe(frame * 1_000_000_000 // rate_hz, seen, evidence)
    assert gap_px(parts[1], seen, evidence) > 5.0
    assert gap_px(parts[1], estimate, evidence) < 1.3


def test_it_trembles_less_than_its_keypoints(parts: Parts) -> None:
    update, poser = parts
    filtered = filter_of(parts)
    tracks: dict[str, list[PersonState]] = {"updated": [], "filtered": []}
    for frame in range(40):
        evidence = evidence_of(poser, person(), noise_px=2.0, seed=frame)
        tracks["updated"].append(update(person(), evidence).state)
        tracks["filtered"].append(filtered.observe(frame * FRAME_NS, person(), evidence))
    times_s = np.arange(20) / 30
    trembling = {
        name: jitter(times_s, np.stack([body.joints_cam_m for body in poser.pose(track[20:])]))
        for name, track in tracks.items()
    }
    assert trembling["filtered"] < 0.33 * trembling["updated"]


@pytest.mark.parametrize("rate_hz", [15, 30, 60])
def test_it_is_not_late_behind_a_steady_motion(parts: Parts, rate_hz: int) -> None:
    filtered, speed_m_s = filter_of(parts), 0.5
    for frame in range(2 * rate_hz):
        true = person(x_m=speed_m_s * frame / rate_hz - 0.5)
        estimate = filtered.observe(frame * 1_000_000_000 // rate_hz, true, evidence_of(parts[1], true))
    late_s = float(true.translation_m[0] - estimate.translation_m[0]) / speed_m_s
    assert abs(late_s) < 0.03


def stride(parts: Parts, angle_rad: float) -> PersonState:
    """Somebody seen from the side, the left leg so far before the right one."""
    flow_map = FlowMap(PoseFlow.load())
    rotations = np.tile(np.eye(3), (21, 1, 1))
    for joint, angle in (
        (JOINT_NAMES.index("left_hip"), -angle_rad),
        (JOINT_NAMES.index("right_hip"), angle_rad),
    ):
        cos, sin = np.cos(angle / 2), np.sin(angle / 2)
        rotations[joint - 1] = [[1, 0, 0], [0, cos, -sin], [0, sin, cos]]
    half = np.sqrt(0.5)
    return replace(
        person(),
        z=flow_map.encode(rotations),
        root_quat_wxyz=np.array([0, half, 0, half], np.float32),
    )


def test_legs_that_were_crossed_by_mistake_do_not_stay_so(parts: Parts) -> None:
    poser = parts[1]
    right, wrong = stride(parts, 1.0), stride(parts, -1.0)
    evidence = evidence_of(poser, right)
    ankles = [KEYPOINT_NAMES.index(f"{side}_ankle") for side in ("left", "right")]
    filtered = filter_of(parts)
    for frame in range(10):
        estimate = filtered.observe(frame * FRAME_NS, right, evidence)
    crossed = difference(mean_of(wrong), mean_of(estimate))
    filtered._found, filtered._shown = crossed, crossed.copy()
    gaps = []
    for frame in range(10, 30):
        estimate = filtered.observe(frame * FRAME_NS, right, evidence)
        own = poser.pose([estimate])[0].keypoints_px(CAMERA)
        gaps.append(np.linalg.norm(own - evidence.keypoints_px[:, :2], axis=1)[ankles].max())
    assert gaps[0] > 30  # a flip of a picture or two is not believed either way
    assert max(gaps[-5:]) < 6


def broken(change: Callable[[Floats], None]) -> Callable[[KeypointEvidence], KeypointEvidence]:
    def of(evidence: KeypointEvidence) -> KeypointEvidence:
        points = evidence.keypoints_px.astype(np.float64)
        change(points)
        return evidence._replace(keypoints_px=points)

    return of


@pytest.mark.parametrize(
    "damage",
    [
        broken(lambda points: points.fill(np.nan)),
        broken(lambda points: points[:, 2].fill(0.0)),
        broken(lambda points: points[:, :2].fill(1e9)),
        lambda evidence: evidence._replace(box_side_px=0.0),
    ],
)
def test_looks_without_usable_keypoints_do_not_throw_it(
    parts: Parts, damage: Callable[[KeypointEvidence], KeypointEvidence]
) -> None:
    filtered, evidence = filter_of(parts), evidence_of(parts[1], person())
    for frame in range(30):
        before = filtered.observe(frame * FRAME_NS, person(offset=0.5), evidence)
    after = filtered.observe(30 * FRAME_NS, person(offset=0.5), damage(evidence))
    for name, value in vars(after).items():
        assert value is None or np.isfinite(value).all(), name
    here, there, seen = (body.joints_cam_m for body in parts[1].pose([before, after, person(offset=0.5)]))
    moved, thrown = (np.linalg.norm(joints - here, axis=1).max() for joints in (there, seen))
    assert moved < 0.5 * thrown


def test_the_correction_fades_and_times_that_do_not_advance_change_nothing(parts: Parts) -> None:
    filtered, evidence = filter_of(parts), evidence_of(parts[1], person())
    for frame in range(20):
        estimate = filtered.observe(frame * FRAME_NS, person(offset=0.5), evidence)
    t_ns = 19 * FRAME_NS
    for stale_ns in (t_ns, t_ns - FRAME_NS):
        filtered.observe(stale_ns, person(offset=0.5), evidence)
        np.testing.assert_array_equal(filtered.predict(t_ns).z, estimate.z)
    late_ns = t_ns + 5_000_000_000
    np.testing.assert_allclose(filtered.predict(late_ns).z, filtered.motion.predict(late_ns).z, atol=1e-4)
    filtered.reset()
    with pytest.raises(RuntimeError):
        filtered.predict(late_ns)


def test_the_shape_is_that_of_the_filter(parts: Parts) -> None:
    filtered = filter_of(parts)
    for frame in range(20):
        evidence = evidence_of(parts[1], person(), noise_px=2.0, seed=frame)
        estimate = filtered.observe(frame * FRAME_NS, person(), evidence)
        np.testing.assert_array_equal(estimate.betas, filtered.motion.predict(frame * FRAME_NS).betas)
