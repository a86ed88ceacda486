"""Who is who from frame to frame: association of observations with tracks; how tracks start, coast and end.

Between two runs of the detector each track is observed where its own keypoints were last seen, moved on by
their velocity. A detection belongs to the track whose box and whose place it fits best; one that fits
none starts a track. Two tracks that see the same body are one: the younger ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kinestream.geometry.boxes import iou
from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array

CONFIDENT_KEYPOINT = 0.3
"""Keypoints below this confidence do not shape a box."""
SAME_PLACE = 0.35
"""A lost person may be found again this far away, in units of body size."""
AGREEING_IOU = 0.7
BRIEF_NS = 250_000_000
UPPER_KEYPOINTS = slice(0, 7)
"""Face and shoulders."""
OUTLINE_PAD: Float32Array = np.array([-0.05, -0.05, 0.05, 0.016], np.float32)
"""From the keypoints' box to that of the body's outline, as shares of the longer side (means over poses)."""


@dataclass(frozen=True)
class TrackSettings:
    """How tracks live.

    Attributes:
        max_people: tracks beyond this number are not started.
        max_candidates: new tracks begun by one run of the detector.
        min_presence: an observation of a followed person that is less sure of it counts as a miss.
        new_presence: the same for one who is not shown yet.
        sure_presence: a new track this sure is shown at once, others after ``min_hits`` hits.
        min_hits: hits until a doubtful new track is shown.
        coast_ns: how long a shown track is predicted through misses; less if it was hardly seen.
        match_iou: a detection matches a track from this overlap on.
        same_body: mean keypoint distance, in units of body size, below which two tracks are one.
    """

    max_people: int = 8
    max_candidates: int = 4
    min_presence: float = 0.3
    new_presence: float = 0.65
    sure_presence: float = 0.85
    min_hits: int = 3
    coast_ns: int = 700_000_000
    match_iou: float = 0.3
    same_body: float = 0.2

    def __post_init__(self) -> None:
        if self.max_people < 1:
            raise ValueError(f"max_people: expected at least 1, found {self.max_people}")


@dataclass(eq=False)
class Track:
    """One person over time.

    Attributes:
        track_id: number within this stream, -1 until the track is shown.
        box_xyxy_px: (4,) where to observe next.
        keypoints_px: (23, 3) last seen, None before the first observation.
        score: smoothed presence.
        born_ns, seen_ns: first and last time it was seen.
        hits: observations that saw the person.
        misses: observations in a row that did not.
        stood_apart: whether it was ever seen where nobody else was, so that it is surely somebody else.
        quarter_turns: by how many the crop is turned clockwise, so that the person is upright there.
        turn_after_ns: from when on another turn may be tried.
    """

    box_xyxy_px: Float32Array
    born_ns: int
    seen_ns: int
    score: float
    track_id: int = -1
    keypoints_px: Float32Array | None = None
    hits: int = 0
    misses: int = 0
    stood_apart: bool = False
    quarter_turns: int = 0
    turn_after_ns: int = 0
    _velocity_px: Float32Array = field(default_factory=lambda: np.zeros(4, np.float32))

    @property
    def shown(self) -> bool:
        """Whether the track is sure enough to be published."""
        return self.track_id >= 0

    @property
    def seen_box_px(self) -> Float32Array:
        """The box (4,) of the last observation that saw the person, else of the detection."""
        return self.box_xyxy_px if self.keypoints_px is None else box_of_keypoints(self.keypoints_px)

    def box_at(self, t_ns: int) -> Float32Array:
        """The box (4,) moved on with its velocity, for at most 0.2 s."""
        lead_s = min(max(t_ns - self.seen_ns, 0), 200_000_000) / 1e9
        box: Float32Array = self.box_xyxy_px + np.float32(lead_s) * self._velocity_px
        return box

    def move_to(self, box_xyxy_px: Float32Array) -> None:
        """Observe here next."""
        self.box_xyxy_px = box_xyxy_px
        self._velocity_px[:] = 0

    def enclose(self, points_px: Float32Array) -> None:
        """Widen the box to the whole body, of which these points (N, 2) are the best guess.

        Without it, limbs that are not seen for sure would be cut off more and more from frame to frame.
        """
        box = _padded(points_px)
        seen = self.box_xyxy_px if self.misses == 0 else box
        low, high = np.minimum(box[:2], seen[:2]), np.maximum(box[2:], seen[2:])
        self.box_xyxy_px = np.concatenate([low, high])

    def observe(self, t_ns: int, keypoints_px: Float32Array, presence: float) -> None:
        """Take in an observation that saw the person."""
        box = box_of_keypoints(keypoints_px)
        step_s = (t_ns - self.seen_ns) / 1e9
        if self.keypoints_px is not None and step_s > 0:
            moved = (_center(box) - _center(self.box_xyxy_px)) / np.float32(step_s)
            self._velocity_px += np.float32(0.5) * (np.tile(moved, 2) - self._velocity_px)
        fresh = self.keypoints_px is None or (not self.shown and presence > self.score)
        self.score = presence if fresh else 0.7 * self.score + 0.3 * presence
        self.box_xyxy_px, self.keypoints_px, self.seen_ns = box, keypoints_px, t_ns
        self.hits += 1
        self.misses = 0


class TrackList:
    """All tracks of one stream.

    Per frame: `update_detections` where the detector ran, observe `boxes_at`, then `update`.
    """

    def __init__(self, settings: TrackSettings | None = None) -> None:
        self.settings = settings or TrackSettings()
        self.tracks: list[Track] = []
        self._next_id = 0

    def __len__(self) -> int:
        return len(self.tracks)

    def reset(self) -> None:
        """Forget everybody; ids are not used again."""
        self.tracks = []

    def boxes_at(self, t_ns: int) -> Float32Array:
        """Where to observe each track, (P, 4)."""
        return (
            np.stack([track.box_at(t_ns) for track in self.tracks]) if self.tracks else np.zeros((0, 4), "f")
        )

    def update_detections(self, t_ns: int, boxes_xyxy_px: AnyArray, scores: npt.NDArray[np.floating]) -> None:
        """Take in detections (N, 4) with scores (N,), best first: start tracks, correct lost ones.

        A track whose own box agrees with its detection keeps it: keypoints are steadier than detections.
        Of several that overlap it, the one with most overlap times score is its own: the detector also finds
        legs and shoulders, and is less sure of them.
        """
        boxes = np.asarray(boxes_xyxy_px, np.float32).reshape(-1, 4)
        overlap = iou(self.boxes_at(t_ns), boxes)
        fresh = set(range(len(boxes)))
        worth = np.where(overlap >= self.settings.match_iou, overlap * np.asarray(scores, np.float32), 0)
        for row, column in _best_pairs(worth, 1e-9):
            fresh.discard(column)
            if self.tracks[row].misses or overlap[row, column] < AGREEING_IOU:
                self.tracks[row].move_to(boxes[column])
        self._recall(t_ns, boxes, fresh)
        for column in sorted(fresh)[: self.settings.max_candidates]:
            if sum(track.shown for track in self.tracks) < self.settings.max_people:
                self.tracks.append(Track(boxes[column], t_ns, t_ns, float(scores[column])))

    def update(
        self, t_ns: int, keypoints_px: npt.NDArray[np.floating], presence: npt.NDArray[np.floating]
    ) -> list[Track | None]:
        """Take in one observation per track, in the order of `boxes_at`.

        Args:
            t_ns: their time.
            keypoints_px: (P, 23, 3).
            presence: (P,).

        Returns the track of each observation, None where it saw nobody or somebody who is followed already.
        Tracks that ended are then gone from `tracks`.
        """
        observed = list(self.tracks)
        if not len(observed) == len(keypoints_px) == len(presence):
            raise ValueError(
                f"update: expected one observation for each of {len(observed)} tracks, found "
                f"{len(keypoints_px)} keypoint sets and {len(presence)} presences"
            )
        points = np.asarray(keypoints_px, np.float32)
        settings = self.settings
        seen = [
            bool(share >= (settings.min_presence if track.shown else settings.new_presence))
            for track, share in zip(observed, presence, strict=True)
        ]
        owners: list[Track | None] = [
            track if hit else None for track, hit in zip(observed, seen, strict=True)
        ]
        for older, younger in self._duplicates(observed, points, seen):
            self._settle(older, younger, observed, points, owners)
        self._reunite(t_ns, observed, points, owners)
        for row, owner in enumerate(owners):
            if owner is not None:
                owner.observe(t_ns, points[row], float(presence[row]))
        for track in self.tracks:
            if not any(track is owner for owner in owners):
                track.misses += 1
                track.score *= 0.9
        self._confirm_and_prune(t_ns)
        return owners

    def _reunite(
        self, t_ns: int, observed: Sequence[Track], points: Float32Array, owners: list[Track | None]
    ) -> None:
        """Somebody new beside a track that just lost its person is that person, who moved fast."""
        lost = [track for track in observed if track.shown and not any(track is owner for owner in owners)]
        for row, owner in enumerate(owners):
            if owner is None or owner.shown or not lost:
                continue
            seen = box_of_keypoints(points[row])
            nearest = min(lost, key=lambda track, seen=seen: _gap(seen, track.box_at(t_ns)))  # type: ignore[misc]
            if self._same_place(seen, nearest.box_at(t_ns)) or self._same_place(seen, nearest.seen_box_px):
                lost.remove(nearest)
                self.tracks.remove(owner)
                owners[row] = nearest

    def _same_place(self, box: Float32Array, other: Float32Array) -> bool:
        return _gap(box, other) < SAME_PLACE or _overlap(box, other) >= self.settings.match_iou

    def _recall(self, t_ns: int, boxes: Float32Array, fresh: set[int]) -> None:
        """Give detections that match nobody to lost tracks nearby, by distance in body sizes."""
        lost = [track for track in self.tracks if track.shown and track.misses]
        for track in sorted(lost, key=lambda track: -track.seen_ns):
            if not fresh:
                return
            gap = {column: _gap(boxes[column], track.box_at(t_ns)) for column in fresh}
            nearest = min(gap, key=gap.__getitem__)
            if gap[nearest] < SAME_PLACE:
                fresh.discard(nearest)
                track.move_to(boxes[nearest])

    def _duplicates(
        self, tracks: Sequence[Track], points: Float32Array, seen: Sequence[bool]
    ) -> list[tuple[int, int]]:
        """Rows (older, younger) of tracks that see the same body."""
        pairs: list[tuple[int, int]] = []
        order = sorted((i for i, hit in enumerate(seen) if hit), key=lambda i: (-tracks[i].hits, i))
        while order:
            older = order.pop(0)
            same = [i for i in order if self._is_same_body(points[older], points[i])]
            pairs += [(older, younger) for younger in same]
            order = [i for i in order if i not in same]
        return pairs

    def _is_same_body(self, one_px: Float32Array, other_px: Float32Array) -> bool:
        """By the whole body, or by head and shoulders where one observation cuts off the rest."""
        limit = self.settings.same_body
        upper = body_distance(one_px, other_px, keypoints=UPPER_KEYPOINTS)
        return body_distance(one_px, other_px) < limit or upper < limit / 2

    def _settle(
        self,
        older: int,
        younger: int,
        observed: Sequence[Track],
        points: Float32Array,
        owners: list[Track | None],
    ) -> None:
        """Two observations saw one body: it is the older track's, by the better one.

        A track that was shown coasts, since it may be hidden behind the other, if it was ever seen beside
        it; others end.
        """
        owners[younger] = None
        if observed[younger].shown and observed[younger].stood_apart:
            return
        self.tracks.remove(observed[younger])
        held = next((row for row, owner in enumerate(owners) if owner is observed[older]), None)
        if held is not None and points[younger, :, 2].sum() > points[held, :, 2].sum():
            owners[held], owners[younger] = None, observed[older]

    def _confirm_and_prune(self, t_ns: int) -> None:
        settings = self.settings
        alive = []
        for track in self.tracks:
            if track.shown:
                # Those who were hardly seen are not taken to be hidden for long.
                coast_ns = min(settings.coast_ns, 2 * (track.seen_ns - track.born_ns) + BRIEF_NS)
                lives = track.misses == 0 or t_ns - track.seen_ns < coast_ns
            else:
                full = sum(other.shown for other in self.tracks) >= settings.max_people
                lives = track.misses == 0 and not full
                sure = track.score >= settings.sure_presence and not self._crowded(track)
                sure |= track.hits >= settings.min_hits
                if lives and sure:
                    track.track_id, self._next_id = self._next_id, self._next_id + 1
            if lives:
                alive.append(track)
        self.tracks = alive
        for track in alive:
            track.stood_apart |= track.misses == 0 and not self._crowded(track)

    def _crowded(self, track: Track) -> bool:
        """Whether somebody else is shown in the same place, so that this may be the same body seen twice."""
        return any(
            other is not track
            and other.shown
            and max(_overlap(track.box_xyxy_px, box) for box in (other.box_xyxy_px, other.seen_box_px))
            >= self.settings.match_iou
            for other in self.tracks
        )


def box_of_keypoints(keypoints_px: Float32Array) -> Float32Array:
    """Box (4,) of the person with these keypoints (23, 3), by the confident ones or all if few are."""
    sure = keypoints_px[:, 2] >= CONFIDENT_KEYPOINT
    return _padded(keypoints_px[sure if sure.sum() >= 4 else slice(None), :2])


def _padded(points_px: Float32Array) -> Float32Array:
    """Box (4,) of the outline of a body with these keypoints (N, 2)."""
    low, high = points_px.min(0), points_px.max(0)
    box: Float32Array = np.concatenate([low, high]) + (high - low).max() * OUTLINE_PAD
    return box


def body_distance(one_px: Float32Array, other_px: Float32Array, *, keypoints: slice = slice(None)) -> float:
    """Mean distance of two bodies (23, 3), weighted by both confidences, in units of the smaller body.

    By all or some ``keypoints``; one where none of them is sure in both.
    """
    one, other = one_px[keypoints], other_px[keypoints]
    weight = one[:, 2] * other[:, 2]
    total = float(weight.sum())
    if total < 1e-3:
        return 1.0
    gaps = np.linalg.norm(one[:, :2] - other[:, :2], axis=1)
    size = max(1.0, min(_size(box_of_keypoints(one_px)), _size(box_of_keypoints(other_px))))
    return float((gaps * weight).sum()) / total / size


def _overlap(box: Float32Array, other: Float32Array) -> float:
    """Intersection over union of two boxes (4,)."""
    return float(iou(box[None], other[None])[0, 0])


def _gap(box: Float32Array, other: Float32Array) -> float:
    """Mean distance of the sides of two boxes (4,), in units of the second one's longer side."""
    return float(np.abs(box - other).mean()) / max(1.0, _size(other))


def _size(box: Float32Array) -> float:
    """Longer side of a box (4,)."""
    return max(float(box[2] - box[0]), float(box[3] - box[1]))


def _center(box: Float32Array) -> Float32Array:
    center: Float32Array = (box[:2] + box[2:]) / np.float32(2)
    return center


def _best_pairs(score: Float64Array, least: float) -> list[tuple[int, int]]:
    """Pairs (row, column), best first, each row and column once, scores of at least ``least``."""
    pairs: list[tuple[int, int]] = []
    left = score.copy()
    while left.size and left.max() >= least:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        pairs.append((int(row), int(column)))
        left[row], left[:, column] = -1, -1
    return pairs
