"""Everybody who is followed: tracks with their motion filters, posed at any time that is asked for."""

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kinestream.detect.detector import Detections
from kinestream.filtering import FilterFactory, PersonState, PoseFilter
from kinestream.filtering.base import KeypointEvidence
from kinestream.geometry.camera import Camera
from kinestream.geometry.level import Ground
from kinestream.kernels.array_types import BoolArray, Float32Array, Int64Array
from kinestream.pose import Person, PoseFrame
from kinestream.regress.observation import Observations
from kinestream.tracking.association import Track, TrackList, TrackSettings
from kinestream.tracking.framing import framed, with_room
from kinestream.tracking.ground import GroundEstimator, Seen
from kinestream.tracking.known_heights import KnownHeights
from kinestream.tracking.poser import BodyPoser, PosedBody

MIN_VISIBLE_PX = 8.0
"""People of whom less is left within the picture count as gone."""
MIN_DISTANCE_M = 0.1
SURE = 0.9
"""Smoothed presence from which on somebody is sure to be there; who is seen well has 0.99 and more."""
SETTLED_NS = 2_000_000_000
"""So long after somebody came, others are not expected any more than at any other time."""
TURN_PAUSE_NS = 250_000_000
"""Somebody who was looked at twice, upright and turned, is not so again for this long."""


class People:
    """Takes in detections and observations, answers who is where. `predict` may be called from any thread."""

    def __init__(
        self,
        poser: BodyPoser,
        new_filter: FilterFactory,
        *,
        max_people: int,
        heights: KnownHeights | None = None,
        ground: bool = False,
    ) -> None:
        """With ``heights`` these are fixed, with ``ground`` gravity and floor are estimated."""
        self._poser = poser
        self._new_filter = new_filter
        self._smoothness: float | None = None
        self._heights = heights
        self._ground = GroundEstimator() if ground else None
        self._tracks = TrackList(TrackSettings(max_people=max_people))
        self._filters: dict[Track, PoseFilter] = {}
        self._posed: dict[Track, tuple[PersonState, PosedBody]] = {}
        self._posed_ns: int | None = None
        self._observed: dict[int, tuple[PersonState, KeypointEvidence]] = {}
        self._lock = threading.Lock()

    @property
    def unsettled(self) -> bool:
        """Whether somebody is to be searched for: nobody is followed, or somebody was missed."""
        return not self._tracks.tracks or any(track.misses for track in self._tracks.tracks)

    def calm(self, t_ns: int) -> bool:
        """Whether everybody has been followed for a while and is sure to be there."""
        return all(
            track.shown and not track.misses and track.score >= SURE and t_ns - track.born_ns >= SETTLED_NS
            for track in self._tracks.tracks
        )

    def update_detections(self, t_ns: int, found: Detections) -> None:
        """Take in what the detector found at ``t_ns``."""
        self._tracks.update_detections(t_ns, found.boxes_xyxy_px, found.scores)

    def boxes_at(self, t_ns: int, camera: Camera) -> Float32Array:
        """Where each is, (P, 4): within the picture, with room around those whom it cuts off."""
        return with_room(self._tracks.boxes_at(t_ns), self._detected, camera)

    def framed(self, boxes_xyxy_px: Float32Array, camera: Camera) -> Float32Array:
        """What to observe of each of `boxes_at`."""
        return framed(boxes_xyxy_px, self._detected | self._missed, camera)

    @property
    def _detected(self) -> BoolArray:
        """Who (P,) was never observed."""
        return np.array([track.hits == 0 for track in self._tracks.tracks], np.bool_)

    @property
    def _missed(self) -> BoolArray:
        """Who (P,) was not seen in the last picture."""
        return np.array([track.misses > 0 for track in self._tracks.tracks], np.bool_)

    def turns_at(self, t_ns: int) -> tuple[Int64Array, BoolArray]:
        """Quarter turns (P,) of each one's crop, and whether another may be tried."""
        tracks = self._tracks.tracks
        turns = np.array([track.quarter_turns for track in tracks], np.int64)
        return turns, np.array([t_ns >= track.turn_after_ns for track in tracks], np.bool_)

    def keep_turns(self, t_ns: int, quarter_turns: Int64Array, looked_again: BoolArray) -> None:
        """Take in the turns (P,) of the crops that showed each of `boxes_at`, and who was looked at twice."""
        for track, turns, again in zip(self._tracks.tracks, quarter_turns, looked_again, strict=True):
            track.quarter_turns = int(turns)
            if again:
                track.turn_after_ns = t_ns + TURN_PAUSE_NS

    def observe(
        self, t_ns: int, observations: Observations, boxes_xyxy_px: Float32Array, camera: Camera
    ) -> None:
        """Take in one observation for each of `boxes_at`."""
        with self._lock:
            presence = _usable_presence(observations, camera.within_picture(boxes_xyxy_px))
            owners = self._tracks.update(t_ns, observations.keypoints_px, presence)
            self._filters = {track: self._filters.get(track) or self.begin() for track in self._tracks.tracks}
            if self._heights is not None:
                self._heights.assign(self._filters)
            self._observed = {}
            sides_px = (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).max(1, initial=0)
            for row, track in enumerate(owners):
                if track in self._filters:
                    evidence = KeypointEvidence.of(observations, row, camera, float(sides_px[row]))
                    state = PersonState.from_observations(observations, row)
                    if self._heights is not None:
                        state = self._heights.scaled(track, state)
                    self._filters[track].observe(t_ns, state, evidence)
                    self._observed[track.track_id] = state, evidence
            for track in [track for track in self._filters if track.misses]:
                if self._filters[track].lost(t_ns):
                    self._tracks.tracks.remove(track)
                    del self._filters[track]
            self._posed_ns = None
            self._posed_at(t_ns)
            for track, (_, posed) in self._posed.items():
                track.enclose(posed.keypoints_px(camera))
            if self._ground is not None:
                self._ground.update(t_ns, dict(self._seen()))

    def predict(self, t_ns: int, camera: Camera) -> tuple[Person, ...]:
        """Everybody as seen, or expected, at ``t_ns``, which is not before the last observation."""
        with self._lock:
            self._posed_at(t_ns)
            return tuple(
                _person(t_ns, track, state, posed, camera)
                for track, (state, posed) in self._posed.items()
                if track.shown
            )

    def _posed_at(self, t_ns: int) -> None:
        """Pose everybody at ``t_ns``, unless that was just done."""
        if self._posed_ns != t_ns or self._posed.keys() != self._filters.keys():
            states = [motion.predict(t_ns) for motion in self._filters.values()]
            pairs = zip(states, self._poser.pose(states), strict=True)
            self._posed = dict(zip(self._filters, pairs, strict=True))
            self._posed_ns = t_ns

    def set_smoothness(self, smoothness: float) -> None:
        """Of everybody's filter, now and later; may be called from any thread."""
        with self._lock:
            self._smoothness = smoothness
            for motion in self._filters.values():
                motion.smoothness = smoothness

    def begin(self) -> PoseFilter:
        """The filter of a new track."""
        motion = self._new_filter()
        if self._smoothness is not None:
            motion.smoothness = self._smoothness
        return motion

    @property
    def observed(self) -> Mapping[int, tuple[PersonState, KeypointEvidence]]:
        """What the filters took in from the last picture, by track id."""
        return self._observed

    @property
    def estimates(self) -> Mapping[int, PersonState]:
        """Everybody's state as posed last, by track id."""
        return {track.track_id: state for track, (state, _) in self._posed.items()}

    def reposed(self, frame: PoseFrame, states: Mapping[int, PersonState]) -> PoseFrame:
        """The frame with these states, by track id, in place of what its persons have."""
        with self._lock:
            bodies = dict(zip(states, self._poser.pose(list(states.values())), strict=True))
        persons = []
        for person in frame:
            if person.track_id in states:
                body = bodies[person.track_id]
                changed = _body_fields(states[person.track_id], body)
                if person.state == "coasting":
                    confidence = person.keypoints_px[:, 2:]
                    changed["keypoints_px"] = np.concatenate([body.keypoints_px(frame.camera), confidence], 1)
                person = dataclasses.replace(person, **changed)
            persons.append(person)
        return dataclasses.replace(frame, persons=tuple(persons))

    @property
    def ground(self) -> Ground | None:
        """Gravity and floor as of the last observation; None where that is unknown, or not asked for."""
        return self._ground.ground if self._ground is not None else None

    def _seen(self) -> Iterator[tuple[int, Seen]]:
        """Those who were seen just now, by track."""
        for track, (_, posed) in self._posed.items():
            if track.shown and not track.misses and track.keypoints_px is not None:
                yield track.track_id, Seen(posed.joints_cam_m, posed.keypoints_cam_m, track.keypoints_px)

    def reset(self) -> None:
        """Forget everybody; ids are not used again."""
        with self._lock:
            if self._ground is not None:
                self._ground.reset()
            self._tracks.reset()
            self._filters.clear()
            self._posed.clear()
            self._observed = {}


def _person(t_ns: int, track: Track, state: PersonState, posed: PosedBody, camera: Camera) -> Person:
    keypoints_px = track.keypoints_px
    if keypoints_px is None or track.misses or t_ns != track.seen_ns:
        confidence = np.zeros(len(posed.keypoints_cam_m), np.float32)
        if keypoints_px is not None and not track.misses:
            confidence = keypoints_px[:, 2]
        keypoints_px = np.concatenate([posed.keypoints_px(camera), confidence[:, None]], 1)
    return Person(
        track_id=track.track_id,
        score=min(1.0, max(0.0, track.score)),
        state="coasting" if track.misses else "tracked",
        age_ns=max(0, t_ns - track.born_ns),
        box_xyxy_px=track.box_xyxy_px,
        keypoints_px=keypoints_px,
        **_body_fields(state, posed),
    )


def _body_fields(state: PersonState, posed: PosedBody) -> dict[str, Any]:
    """What a `Person` has from its state and the body posed by it."""
    return {
        "root_quat_wxyz": state.root_quat_wxyz,
        "translation_m": state.translation_m,
        "joint_quats_wxyz": posed.joint_quats_wxyz,
        "betas": state.betas,
        "joints_cam_m": posed.joints_cam_m,
        "joint_std_m": posed.joint_std_m,
        "keypoints_cam_m": posed.keypoints_cam_m,
        "vertices_cam_m": posed.vertices_cam_m,
    }


def _usable_presence(observations: Observations, boxes_xyxy_px: Float32Array) -> Float32Array:
    """Presence (P,), zero where an observation holds no usable numbers or hardly anything was visible."""
    parts = (
        observations.z,
        observations.root_quat_wxyz,
        observations.translation_m,
        observations.betas,
        observations.keypoints_px,
    )
    usable = observations.translation_m[:, 2] > MIN_DISTANCE_M
    for part in parts:
        usable &= np.isfinite(part).all(axis=tuple(range(1, part.ndim)))
    usable &= (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).min(1, initial=np.inf) >= MIN_VISIBLE_PX
    return np.where(usable, observations.presence, np.float32(0))
