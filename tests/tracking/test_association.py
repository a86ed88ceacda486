"""Tracks of scripted people: ids stay, doubles end, the lost are found, the gone are forgotten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry.boxes import iou
from kinestream.tracking.association import (
    Track,
    TrackList,
    TrackSettings,
    body_distance,
    box_of_keypoints,
)

FRAME_NS = 33_333_333
OUTLINE = np.random.default_rng(0).uniform([-40, -100], [40, 100], (23, 2)).astype(np.float32)


def body(x: float, y: float = 200.0, confidence: float = 0.9) -> np.ndarray:
    """Keypoints (23, 3) of a person 200 px tall at (x, y)."""
    points = OUTLINE + np.float32([x, y])
    return np.concatenate([points, np.full((23, 1), confidence, np.float32)], 1)


def box(x: float, y: float = 200.0) -> np.ndarray:
    return box_of_keypoints(body(x, y)) + np.float32([-4, 3, 5, -2])


class Scene:
    """Plays detector and regressor for people at known places."""

    def __init__(self, **changes: object) -> None:
        self.tracks = TrackList(TrackSettings(**changes))  # type: ignore[arg-type]
        self.t_ns = 0

    def step(
        self, people: dict[str, float], *, detect: bool = False, presence: float = 0.95
    ) -> dict[str, int]:
        """One frame; returns the track id that shows each person."""
        self.t_ns += FRAME_NS
        places = np.array(list(people.values()))
        if detect:
            boxes = np.array([box(x) for x in places]).reshape(-1, 4)
            self.tracks.update_detections(self.t_ns, boxes, np.full(len(boxes), 0.9))
        observations, sure = [], []
        for looked in self.tracks.boxes_at(self.t_ns):
            center = (looked[0] + looked[2]) / 2
            gaps = np.abs(places - center) if len(places) else np.array([np.inf])
            nearest = int(gaps.argmin())
            hit = gaps[nearest] < 60
            observations.append(body(float(places[nearest])) if hit else body(float(center), confidence=0.05))
            sure.append(presence if hit else 0.02)
        self.tracks.update(self.t_ns, np.array(observations).reshape(-1, 23, 3), np.array(sure))
        shown = [track for track in self.tracks.tracks if track.shown and not track.misses]
        found = {}
        for name, x in people.items():
            for track in shown:
                if abs((track.box_xyxy_px[0] + track.box_xyxy_px[2]) / 2 - x) < 15:
                    found[name] = track.track_id
        return found


def test_a_sure_person_is_shown_at_once_and_keeps_the_id() -> None:
    scene = Scene()
    assert scene.step({"ann": 100}, detect=True) == {"ann": 0}
    for i in range(60):
        assert scene.step({"ann": 100 + 6 * i}) == {"ann": 0}, "followed without the detector"


def test_a_doubtful_person_needs_several_observations() -> None:
    scene = Scene()
    assert scene.step({"ann": 100}, detect=True, presence=0.7) == {}
    assert scene.step({"ann": 100}, presence=0.7) == {}
    assert scene.step({"ann": 100}, presence=0.7) == {"ann": 0}


def test_a_false_alarm_leaves_no_id_behind() -> None:
    scene = Scene()
    scene.tracks.update_detections(0, box(500)[None], np.array([0.9]))
    scene.step({})
    assert len(scene.tracks) == 0
    assert scene.step({"ann": 100}, detect=True) == {"ann": 0}


def test_repeated_detections_make_no_second_track() -> None:
    scene = Scene()
    for i in range(20):
        assert scene.step({"ann": 100.0 + i, "bob": 400.0}, detect=True) == {"ann": 0, "bob": 1}
        assert len(scene.tracks) == 2


def test_a_short_occlusion_keeps_the_id() -> None:
    scene = Scene()
    for i in range(5):
        scene.step({"ann": 100 + 3 * i}, detect=i == 0)
    for _ in range(8):
        assert scene.step({}) == {}
        assert len(scene.tracks) == 1, "coasting"
    assert scene.step({"ann": 150}, detect=True) == {"ann": 0}


def test_a_leap_keeps_the_id_whenever_the_detector_runs() -> None:
    for detect_at_leap in (True, False):
        scene = Scene()
        for i in range(5):
            scene.step({"ann": 100}, detect=i == 0)
        scene.step({"ann": 180}, detect=detect_at_leap)
        assert scene.step({"ann": 180}, detect=True) == {"ann": 0}
        assert len(scene.tracks) == 1


def test_a_short_appearance_leaves_no_long_shadow() -> None:
    scene = Scene()
    scene.step({"ann": 100}, detect=True)
    scene.step({"ann": 100})
    for _ in range(12):
        scene.step({})
    assert len(scene.tracks) == 0, "0.4 s, where somebody seen for longer coasts 0.7 s"


def test_somebody_gone_is_forgotten_and_the_id_is_not_used_again() -> None:
    scene = Scene()
    scene.step({"ann": 100}, detect=True)
    for _ in range(30):
        scene.step({})
    assert len(scene.tracks) == 0
    assert scene.step({"bob": 120}, detect=True) == {"bob": 1}


def test_two_tracks_on_one_body_become_the_older() -> None:
    scene = Scene()
    ids = scene.step({"ann": 100, "bob": 180}, detect=True)
    for i in range(20):
        ids = scene.step({"ann": 100, "bob": 180 - min(4 * i, 70)}) or ids
    for _ in range(30):
        scene.step({"ann": 100})
    assert ids["ann"] == 0
    assert [track.track_id for track in scene.tracks.tracks if not track.misses] == [0]


def test_of_two_observations_of_one_body_the_better_counts() -> None:
    scene = Scene()
    scene.step({"ann": 100}, detect=True)
    scene.tracks.tracks.append(Track(box(100), born_ns=1, seen_ns=1, score=0.9))
    poor, good = body(100, confidence=0.35), body(101, confidence=0.9)
    owners = scene.tracks.update(1, np.array([poor, good]), np.array([0.9, 0.9]))
    (track,) = scene.tracks.tracks
    assert owners == [None, track] and track.track_id == 0
    assert track.keypoints_px is not None and track.keypoints_px[0, 2] == np.float32(0.9)


def test_of_three_observations_of_one_body_one_counts() -> None:
    tracks = TrackList(TrackSettings())
    tracks.update_detections(0, np.array([box(100), box(300), box(500)]), np.full(3, 0.9))
    observations = np.array([body(100, confidence=confidence) for confidence in (0.5, 0.7, 0.9)])
    owners = tracks.update(0, observations, np.full(3, 0.95))
    assert [owner is not None for owner in owners] == [False, False, True]
    assert tracks.tracks == [owners[2]]


def test_no_more_than_max_people() -> None:
    scene = Scene(max_people=2)
    found = scene.step({"a": 100, "b": 300, "c": 500}, detect=True)
    assert sorted(found) == ["a", "b"]
    assert len(scene.tracks) == 2
    with pytest.raises(ValueError, match="max_people: expected at least 1, found 0"):
        TrackSettings(max_people=0)


def test_reset_starts_over_with_new_ids() -> None:
    scene = Scene()
    scene.step({"ann": 100}, detect=True)
    scene.tracks.reset()
    assert scene.step({"ann": 100}, detect=True) == {"ann": 1}


def test_observations_must_fit_the_tracks() -> None:
    with pytest.raises(ValueError, match="expected one observation for each of 0 tracks, found 1"):
        TrackList().update(0, body(0)[None], np.ones(1))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-4, 4), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_people_who_keep_apart_keep_their_ids(speeds: list[float], visible: list[bool]) -> None:
    """Whatever their speed, and however the detector and single observations fail."""
    scene = Scene()
    people = {str(i): 300.0 * i for i in range(len(speeds))}
    first = scene.step(people, detect=True)
    assert sorted(first.values()) == list(range(len(speeds)))
    hidden = 0
    for i, (seen, speed_shift) in enumerate(zip(visible, range(40), strict=True)):
        people = {name: 300.0 * k + speeds[k] * min(speed_shift, 25) for k, name in enumerate(people)}
        hidden = 0 if seen or hidden >= 5 else hidden + 1
        found = scene.step(people if not hidden else {}, detect=i % 7 == 0)
        assert all(first[name] == track_id for name, track_id in found.items())
    scene.step(people, detect=True)
    assert scene.step(people) == first


def test_box_measures() -> None:
    one = np.float32([[0, 0, 2, 2], [5, 5, 6, 6]])
    other = np.float32([[1, 1, 3, 3], [0, 0, 2, 2]])
    np.testing.assert_allclose(iou(one, other), [[1 / 7, 1], [0, 0]], atol=1e-6)
    assert iou(one[:0], other).shape == (0, 2)
    assert iou(np.zeros((1, 4)), np.zeros((1, 4)))[0, 0] == 0


def test_body_distance_counts_only_what_both_see() -> None:
    assert body_distance(body(100), body(100)) == 0
    assert 0.05 < body_distance(body(100), body(120)) < 0.2
    assert body_distance(body(100), body(100, confidence=0.0)) == 1


def test_a_box_ignores_doubtful_keypoints() -> None:
    points = body(100)
    points[3] = [9999, 9999, 0.1]
    assert box_of_keypoints(points)[2] < 200
    few = body(100, confidence=0.1)
    np.testing.assert_array_equal(box_of_keypoints(few), box_of_keypoints(body(100)))


def looks_of(scene: Scene, bodies: list[np.ndarray], presence: list[float]) -> list[Track | None]:
    scene.t_ns += FRAME_NS
    return scene.tracks.update(scene.t_ns, np.array(bodies).reshape(-1, 23, 3), np.array(presence))


def test_a_second_detection_of_somebody_who_is_missed_is_still_that_person() -> None:
    scene = Scene()
    scene.step({"one": 300.0}, detect=True)
    only = scene.tracks.tracks[0]
    off = box(300.0) + np.float32([20, 60, 20, 60])  # a poor detection beside the track's own, good box
    scene.tracks.tracks.append(Track(off, scene.t_ns, scene.t_ns, 0.9))
    looks_of(scene, [body(300.0, confidence=0.05), body(302.0)], [0.1, 0.97])
    assert [track.track_id for track in scene.tracks.tracks] == [only.track_id] == [0]
    assert only.misses == 0, "the look went to the track that lost its person"


def test_a_track_that_was_never_seen_apart_ends_as_a_double() -> None:
    scene = Scene()
    scene.step({"one": 300.0}, detect=True)
    scene.tracks.tracks.append(Track(box(300.0), scene.t_ns, scene.t_ns, 0.9))
    other = OUTLINE[::-1] + np.float32([300.0, 200.0])
    strange = np.concatenate([other, np.full((23, 1), 0.9, np.float32)], 1)
    assert body_distance(body(300.0), strange) > 0.2
    for _ in range(2):
        looks_of(scene, [body(300.0), strange], [0.97, 0.99])
        assert not scene.tracks.tracks[1].shown, "sure, but in the place of somebody who is shown"
    looks_of(scene, [body(300.0), strange], [0.97, 0.99])
    assert scene.tracks.tracks[1].shown and not scene.tracks.tracks[1].stood_apart
    looks_of(scene, [body(300.0), body(300.0)], [0.97, 0.99])
    assert [track.track_id for track in scene.tracks.tracks] == [0]


def test_no_look_is_given_to_a_track_twice() -> None:
    scene = Scene()
    scene.step({"one": 300.0}, detect=True)
    for _ in range(2):
        scene.tracks.tracks.append(Track(box(300.0), scene.t_ns, scene.t_ns, 0.9))
    apart = OUTLINE[::-1] + np.float32([310.0, 200.0])
    strange = np.concatenate([apart, np.full((23, 1), 0.9, np.float32)], 1)
    owners = looks_of(scene, [body(300.0, confidence=0.5), body(300.0, confidence=0.95), strange], [0.97] * 3)
    shown = [owner for owner in owners if owner is not None and owner.track_id == 0]
    assert len(shown) == 1


def test_a_detection_of_the_legs_does_not_take_the_place_of_the_whole_body() -> None:
    scene = Scene()
    scene.step({"one": 300.0}, detect=True)
    track = scene.tracks.tracks[0]
    track.move_to(np.float32([400, 36, 500, 360]))
    whole, legs = np.float32([340, 0, 560, 430]), np.float32([375, 232, 521, 391])
    assert iou(track.box_xyxy_px[None], np.stack([whole, legs])).min() > 0.28
    scene.tracks.update_detections(scene.t_ns + FRAME_NS, np.stack([whole, legs]), np.float32([0.38, 0.22]))
    assert track.box_xyxy_px.tolist() == whole.tolist()
