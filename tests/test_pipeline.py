"""The whole pipeline on scripted people: geometry, ids, coasting, times, statistics, publishing, errors."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinestream.body.model import BodyModel
from kinestream.capture import SourceNotFoundError, open_source
from kinestream.filtering import FILTERS
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.one_euro import OneEuroFilter
from kinestream.geometry.camera import Camera
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.stream import Publisher, StreamTimeoutError, Subscriber

Paint = Callable[..., np.ndarray]
Video = Callable[..., Path]
SIZE = (320, 240)
STEP_NS = 33_333_333


def walk(count: int, *, start: int = 40, speed: int = 2) -> list[dict[int, tuple[int, int, int, int]]]:
    """One person who walks to the right."""
    return [{0: (start + speed * i, 60, 50, 120)} for i in range(count)]


@pytest.mark.parametrize("filter_name", sorted(set(FILTERS) - {"learned"}))
def test_a_person_is_where_the_camera_sees_him(
    block_models: Models, paint_blocks: Paint, filter_name: str
) -> None:
    tracker = Tracker(models=block_models, filter=filter_name)
    for i in range(20):
        frame = tracker.process(paint_blocks(SIZE, {0: (100, 60, 50, 120)}), i * STEP_NS)
    (person,) = frame.persons
    camera = frame.camera
    assert (camera.width_px, camera.height_px) == SIZE
    depth = camera.focal_px[1] * 1.7 / 119
    np.testing.assert_allclose(person.translation_m, camera.unproject([124.5, 119.5], depth), atol=0.03)
    np.testing.assert_allclose(person.joints_cam_m[0], person.translation_m, atol=1e-5)
    head, ankles = person.joints_cam_m[15], person.joints_cam_m[[7, 8]].mean(0)
    assert 1.0 < ankles[1] - head[1] < 1.8, "upright: the head is above the ankles, y points down"
    assert person.track_id == 0 and person.state == "tracked" and person.age_ns == 19 * STEP_NS
    assert ((person.joint_std_m > 0.01) & (person.joint_std_m < 0.5)).all()
    assert person.joint_std_m[20] > person.joint_std_m[0], "a wrist is less certain than the pelvis"


def test_joints_are_those_of_the_body_model(block_models: Models, paint_blocks: Paint) -> None:
    """The hot path (numba kinematics, numpy decoder) gives what the full model gives."""
    import torch

    from kinestream.geometry.rotation import matrix_from_quat

    tracker = Tracker(models=block_models, filter="none", vertices=True)
    frame = tracker.process(paint_blocks(SIZE, {1: (100, 60, 50, 120)}), 0)
    (person,) = frame.persons
    rotations = np.tile(np.eye(3), (1, 24, 1, 1))
    rotations[0, 0] = matrix_from_quat(person.root_quat_wxyz.astype(float))
    rotations[0, 1:22] = matrix_from_quat(person.joint_quats_wxyz.astype(float))
    output = BodyModel(block_models.body)(
        torch.tensor(person.betas)[None],
        torch.tensor(rotations, dtype=torch.float32),
        torch.tensor(person.translation_m)[None],
    )
    np.testing.assert_allclose(person.joints_cam_m, output.joints_m[0], atol=2e-4)
    np.testing.assert_allclose(person.keypoints_cam_m, output.keypoints_m[0], atol=2e-4)
    assert person.vertices_cam_m is not None
    np.testing.assert_allclose(person.vertices_cam_m, output.vertices_m[0], atol=2e-4)


def test_the_joint_std_predicts_the_spread(block_models: Models) -> None:
    """Against a Monte-Carlo draw from the state's distribution."""
    from kinestream.filtering import PersonState
    from kinestream.tracking.poser import BodyPoser

    rng = np.random.default_rng(3)
    poser = BodyPoser(block_models.body, block_models.decoder)
    z = np.zeros(63, np.float32)
    place = np.float32([0, 0, 3])

    def state(**changes: Any) -> PersonState:
        start = PersonState(
            z=z,
            z_std=np.full(63, 0.1, np.float32),
            root_quat_wxyz=np.float32([0, 1, 0, 0]),
            root_std_rad=0.0,
            translation_m=place,
            translation_std_m=np.full(3, 0.03, np.float32),
            betas=np.zeros(10, np.float32),
            betas_std=np.zeros(10, np.float32),
        )
        return replace(start, **changes)

    said = poser.pose([state()])[0].joint_std_m
    draws = [
        state(
            z=(0.1 * rng.normal(size=63)).astype(np.float32),
            translation_m=place + (0.03 * rng.normal(size=3)).astype(np.float32),
        )
        for _ in range(400)
    ]
    joints = np.stack([body.joints_cam_m for body in poser.pose(draws)])
    total_spread = np.sqrt(joints.var(0).sum(-1))
    worst_axis = np.sqrt(joints.var(0).max(-1))
    assert (said > 0.75 * worst_axis).all(), "never much too sure"
    assert (said < 2.0 * total_spread).all()


def test_ids_stay_with_people_who_pass(block_models: Models, paint_blocks: Paint) -> None:
    tracker = Tracker(models=block_models)
    for i in range(60):
        blocks = {0: (20 + 3 * i, 40, 40, 100), 1: (240 - 3 * i, 120, 40, 100)}
        frame = tracker.process(paint_blocks(SIZE, blocks), i * STEP_NS)
        assert len(frame) == 2
        by_height = sorted(frame, key=lambda person: person.translation_m[1])
        assert [person.track_id for person in by_height] == [0, 1]


def test_a_hidden_person_coasts_and_comes_back(block_models: Models, paint_blocks: Paint) -> None:
    tracker = Tracker(models=block_models)
    blocks = {0: (100, 60, 50, 120)}
    for i in range(10):
        seen = tracker.process(paint_blocks(SIZE, blocks), i * STEP_NS).persons[0]
    for i in range(10, 18):
        (hidden,) = tracker.process(paint_blocks(SIZE, {}), i * STEP_NS).persons
        assert hidden.state == "coasting" and hidden.track_id == seen.track_id
        assert (hidden.keypoints_px[:, 2] == 0).all()
    assert hidden.joint_std_m.mean() > seen.joint_std_m.mean()
    assert hidden.score < seen.score
    frame = tracker.process(paint_blocks(SIZE, blocks), 18 * STEP_NS)
    assert [(p.track_id, p.state) for p in frame] == [(0, "tracked")]
    for i in range(19, 60):
        frame = tracker.process(paint_blocks(SIZE, {}), i * STEP_NS)
    assert len(frame) == 0


def test_an_unseen_person_ends_where_too_uncertain(block_models: Models, paint_blocks: Paint) -> None:
    regressor = block_models.regressor

    def uncertain(image: np.ndarray, boxes: np.ndarray, camera: Camera, turns: np.ndarray) -> Any:
        observed = regressor(image, boxes, camera, turns)
        return replace(observed, translation_std_m=np.full_like(observed.translation_std_m, 3.0))

    people = []
    for models in (block_models, replace(block_models, regressor=uncertain)):
        tracker = Tracker(models=models)
        for i in range(10):
            assert len(tracker.process(paint_blocks(SIZE, {0: (100, 60, 50, 120)}), i * STEP_NS)) == 1
        people.append([person.state for person in tracker.process(paint_blocks(SIZE, {}), 10 * STEP_NS)])
    assert people == [["coasting"], []]


def test_the_detector_rests_while_all_is_well(block_models: Models, paint_blocks: Paint) -> None:
    tracker = Tracker(models=block_models)
    for i in range(90):
        tracker.process(paint_blocks(SIZE, {0: (100, 60, 50, 120)}), i * STEP_NS)
    assert block_models.detector.calls <= 13, "four times a second"  # type: ignore[attr-defined]
    tracker.process(paint_blocks(SIZE, {}), 90 * STEP_NS)
    before = block_models.detector.calls  # type: ignore[attr-defined]
    tracker.process(paint_blocks(SIZE, {}), 90 * STEP_NS + 150_000_000)
    assert block_models.detector.calls == before + 1, "searched for at once"  # type: ignore[attr-defined]


def test_the_detector_rests_longer_once_nobody_is_new(block_models: Models, paint_blocks: Paint) -> None:
    tracker = Tracker(models=block_models)
    calls = []
    for i in range(181):  # six seconds
        tracker.process(paint_blocks(SIZE, {0: (100, 60, 50, 120)}), i * STEP_NS)
        calls.append(block_models.detector.calls)  # type: ignore[attr-defined]
    assert calls[60] <= 9 and calls[180] - calls[60] <= 10, "four times a second, then every 0.4 s"
    for i in range(181, 197):  # half a second
        blocks = {0: (100, 60, 50, 120), 1: (200, 60, 50, 120)}
        people = tracker.process(paint_blocks(SIZE, blocks), i * STEP_NS)
    assert len(people) == 2


def test_somebody_new_is_found_within_a_quarter_of_a_second(
    block_models: Models, paint_blocks: Paint
) -> None:
    tracker = Tracker(models=block_models)
    for i in range(30):
        blocks = {0: (30, 60, 50, 120)} | ({1: (200, 60, 50, 120)} if i >= 10 else {})
        frame = tracker.process(paint_blocks(SIZE, blocks), i * STEP_NS)
        if i >= 18:
            assert len(frame) == 2


def test_numbers_that_are_none_count_as_a_miss(block_models: Models, paint_blocks: Paint) -> None:
    regressor = block_models.regressor

    def broken(image: np.ndarray, boxes: np.ndarray, camera: Camera, turns: np.ndarray) -> Any:
        observed = regressor(image, boxes, camera, turns)
        return replace(observed, z=np.full_like(observed.z, np.nan)) if broken.on else observed  # type: ignore[attr-defined]

    broken.on = False  # type: ignore[attr-defined]
    tracker = Tracker(models=replace(block_models, regressor=broken))
    blocks = {0: (100, 60, 50, 120)}
    tracker.process(paint_blocks(SIZE, blocks), 0)
    broken.on = True  # type: ignore[attr-defined]
    assert [p.state for p in tracker.process(paint_blocks(SIZE, blocks), STEP_NS)] == ["coasting"]


def test_a_change_of_resolution_is_survived(block_models: Models, paint_blocks: Paint) -> None:
    tracker = Tracker(models=block_models, camera=Camera.from_fov(640, 480, fov_deg=50))
    wide = tracker.process(paint_blocks((640, 480), {0: (200, 120, 100, 240)}), 0)
    small = tracker.process(paint_blocks((320, 240), {0: (100, 60, 50, 120)}), STEP_NS)
    assert wide.camera.fov_deg == pytest.approx(small.camera.fov_deg, abs=0.01)
    tall = tracker.process(paint_blocks((240, 320), {0: (100, 60, 50, 120)}), 2 * STEP_NS)
    assert (tall.camera.width_px, tall.camera.height_px) == (240, 320)
    assert math.isfinite(tall.camera.focal_px[0])


def test_time_that_runs_back_starts_over(block_models: Models, paint_blocks: Paint, caplog: Any) -> None:
    tracker = Tracker(models=block_models)
    image = paint_blocks(SIZE, {0: (100, 60, 50, 120)})
    assert tracker.process(image, 10**9).persons[0].track_id == 0
    assert tracker.process(image, 10**9).persons[0].track_id == 0, "the same time again is no step back"
    assert tracker.process(image, 0).persons[0].track_id == 1
    assert "time ran back by 1.000 s" in caplog.text


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_things_than_pictures_are_refused(block_models: Models, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected an RGB image \(H, W, 3\) uint8, found"):
        Tracker(models=block_models).process(image, 0)


def test_a_file_is_tracked_to_its_end(block_models: Models, block_video: Video) -> None:
    with Tracker(block_video(walk(45)), models=block_models) as tracker:
        frames = list(tracker)
        stats = tracker.stats()
    assert [frame.frame_index for frame in frames] == list(range(45))
    assert [round(frame.t_capture_ns / 1e6) for frame in frames[:4]] == [0, 33, 67, 100]
    assert {person.track_id for frame in frames for person in frame} == {0}
    x = [frame.persons[0].translation_m[0] for frame in frames]
    assert x[-1] - x[0] > 0.5, "he walked to the right"
    assert stats["frames"] == 45 and stats["dropped"] == stats["corrupt"] == 0
    assert stats["policy"] == "every" and stats["engine"] == "blocks" and stats["people"] == 1
    assert set(stats["stage_ms"]) == {"decode", "wait", "detect", "regress", "filter", "body"}
    assert stats["stage_ms"]["body"]["p50"] <= stats["stage_ms"]["body"]["p99"]


def test_the_same_file_gives_the_same_frames(block_models: Models, block_video: Video) -> None:
    path = block_video(walk(20))
    with Tracker(path, models=block_models) as one, Tracker(path, models=block_models) as other:
        assert list(one) == list(other)


def test_what_is_published_is_what_was_tracked(block_models: Models, block_video: Video) -> None:
    with (
        Publisher("tcp://127.0.0.1:0", heartbeat_s=0.02) as publisher,
        Subscriber(publisher.endpoint) as subscriber,
    ):
        deadline = time.monotonic() + 10
        while subscriber.heartbeat is None and time.monotonic() < deadline:
            with contextlib.suppress(StreamTimeoutError):
                subscriber.receive(timeout_ms=50)
        with Tracker(block_video(walk(20)), models=block_models, publisher=publisher) as tracker:
            tracked = list(tracker)
            assert "publish" in tracker.stats()["stage_ms"]
        messages = [subscriber.receive(timeout_ms=2000) for _ in tracked]
    assert [message.frame for message in messages] == tracked
    assert {message.clock for message in messages} == {"media"}


def test_a_paced_file_counts_like_a_camera(block_models: Models, block_video: Video) -> None:
    with Tracker(block_video(walk(12)), policy="paced", models=block_models) as tracker:
        before = time.monotonic_ns()
        frames = list(tracker)
        assert tracker.clock == "monotonic"
        assert all(before <= frame.t_capture_ns <= time.monotonic_ns() for frame in frames)
        assert len(frames) + tracker.stats()["dropped"] == 12
        assert 0 < tracker.stats()["latency_ms"]["p50"] < (time.monotonic_ns() - before) / 1e6


def test_an_open_source_can_be_passed(block_models: Models, block_video: Video) -> None:
    with open_source(block_video(walk(5))) as source:
        assert len(list(Tracker(source, models=block_models))) == 5


def test_a_missing_source_or_filter_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="no such file or folder"):
        Tracker(tmp_path / "nothing.mp4")
    with pytest.raises(ValueError, match="filter: expected one of .* found 'x'"):
        Tracker(filter="x")


def test_a_filter_may_be_a_factory(block_models: Models, paint_blocks: Paint) -> None:
    """As docs/filter-tuning.md promises; each person gets a filter of its own."""
    made: list[LearnedFilter] = []

    def smooth() -> LearnedFilter:
        made.append(LearnedFilter(block_models.dynamics, smoothness=1))
        return made[-1]

    tracker = Tracker(models=block_models, filter=smooth)
    frame = tracker.process(paint_blocks(SIZE, {0: (30, 60, 50, 120), 1: (200, 60, 50, 120)}), 0)
    assert len(frame) == 2 and len(made) == 3, "one to see that it works, and one for each person"
    assert tracker.stats()["filter"] == "learned"
    assert Tracker(models=block_models, filter=OneEuroFilter).stats()["filter"] == "one-euro"
    with pytest.raises(TypeError, match="expected a callable that returns a PoseFilter, it returned 3"):
        Tracker(models=block_models, filter=lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="expected a name or a callable that returns a PoseFilter, found 3"):
        Tracker(models=block_models, filter=3)  # type: ignore[arg-type]


def test_a_smooth_learned_filter_runs_behind_the_shipped_models() -> None:
    tracker = Tracker(filter=lambda: LearnedFilter(smoothness=1), engine="torch")
    assert len(tracker.process(np.zeros((96, 96, 3), np.uint8), 0)) == 0


def test_iterating_without_a_source_is_explained(block_models: Models) -> None:
    with pytest.raises(ValueError, match=r"made without a source; give one, or call process"):
        next(iter(Tracker(models=block_models)))


def test_a_prediction_goes_on_with_the_motion(block_models: Models, paint_blocks: Paint) -> None:
    ahead = Tracker(models=block_models, lead_ms=66.667)
    now = Tracker(models=block_models)
    for i in range(40):
        image = paint_blocks(SIZE, {0: (40 + 3 * i, 60, 50, 120)})
        led, seen = ahead.process(image, i * STEP_NS), now.process(image, i * STEP_NS)
    per_frame = now.process(paint_blocks(SIZE, {0: (160, 60, 50, 120)}), 40 * STEP_NS)
    step_m = per_frame.persons[0].translation_m[0] - seen.persons[0].translation_m[0]
    lead_m = led.persons[0].translation_m[0] - seen.persons[0].translation_m[0]
    assert lead_m == pytest.approx(2 * step_m, rel=0.25)
    predicted = now.predict(40 * STEP_NS + 50_000_000)
    assert predicted.frame_index == per_frame.frame_index
    assert predicted.persons[0].translation_m[0] > per_frame.persons[0].translation_m[0]
    with pytest.raises(ValueError, match="no frame was processed yet"):
        Tracker(models=block_models).predict(0)


def test_a_fixed_rate_fills_the_gaps_between_frames(block_models: Models, block_video: Video) -> None:
    with (
        Publisher("tcp://127.0.0.1:0", heartbeat_s=0.02) as publisher,
        Subscriber(publisher.endpoint) as subscriber,
    ):
        deadline = time.monotonic() + 10
        while subscriber.heartbeat is None and time.monotonic() < deadline:
            with contextlib.suppress(StreamTimeoutError):
                subscriber.receive(timeout_ms=50)
        path = block_video(walk(10), fps=5)
        before = time.monotonic_ns()
        with Tracker(path, policy="paced", models=block_models, publisher=publisher, rate_hz=50) as tracker:
            frames = list(tracker)
        after = time.monotonic_ns()
        messages = [subscriber.receive(timeout_ms=1000) for _ in range(publisher.sequence)]
    assert len(messages) > 2 * len(frames)
    times = np.array([message.frame.t_capture_ns + message.lead_ns for message in messages])
    assert (np.diff(times) > 0).all(), "each prediction is for a later time"
    assert all(before <= m.frame.t_capture_ns + m.lead_ns <= m.t_publish_ns <= after for m in messages)


def test_rates_and_leads_that_make_no_sense_are_refused(block_models: Models, block_video: Video) -> None:
    with Publisher("tcp://127.0.0.1:0") as publisher:
        with pytest.raises(ValueError, match="needs a live source, or a file with policy paced"):
            Tracker(block_video(walk(2)), models=block_models, publisher=publisher, rate_hz=50)
        with pytest.raises(ValueError, match="rate: expected more than 0"):
            Tracker(block_video(walk(2)), policy="paced", models=block_models, publisher=publisher, rate_hz=0)
    with pytest.raises(ValueError, match="lead_ms: expected 0 to 500, found -1"):
        Tracker(models=block_models, lead_ms=-1)


@pytest.mark.parametrize(("rotate", "flip"), [(0, False), (90, False), (180, True), (270, True)])
def test_a_calibration_follows_the_pictures(
    block_models: Models, block_video: Video, rotate: int, flip: bool
) -> None:
    """It was made before the pictures were turned: a person off the axis stays where he is in the room."""
    camera = Camera(320, 240, (300.0, 280.0), (150.0, 130.0), (0.1, 0.0, 0.02, -0.01))
    path = block_video([{0: (40, 60, 50, 120)}] * 3)
    with open_source(path, rotate=rotate, flip=flip) as source:
        wanted = source.info.geometry.chosen.camera(camera)
        tracker = Tracker(source, models=block_models, camera=camera)
        shown = next(iter(tracker)).camera
    assert (shown.width_px, shown.height_px) == (source.info.width_px, source.info.height_px)
    assert shown == wanted
