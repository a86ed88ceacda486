"""Fixed-lag smoothing for files: what was seen shortly after a picture corrects the poses in it.

A second filter of the same kind runs backwards over the observations, from ``lag`` or more after a picture
down to it, and is combined with the forward estimate by their variances. What the two agree on, such as a
lasting error of the network, stays; noise becomes less, the delay of the filter goes, and gaps are bridged
from both ends instead of being forecast from one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kinestream.capture import Frame
from kinestream.filtering import PersonState, PoseFilter
from kinestream.filtering.base import KeypointEvidence
from kinestream.filtering.error_state import difference, mean_of, move, std_of
from kinestream.pose import PoseFrame
from kinestream.tracking.people import People

MAX_LAG_MS = 2000.0
_STD_FLOOR = 1e-6


class _Entry(NamedTuple):
    """One picture that waits, with what the tracker knew after it; both by track id."""

    frame: Frame
    poses: PoseFrame
    observed: Mapping[int, tuple[PersonState, KeypointEvidence]]
    estimates: Mapping[int, PersonState]


class FixedLagSmoother:
    """Holds pictures back until later ones were seen; memory for twice the lag."""

    def __init__(self, people: People, lag_ms: float) -> None:
        """Smooth what ``people`` follow; raises ``ValueError`` for a lag out of range."""
        if not 0 < lag_ms <= MAX_LAG_MS:
            raise ValueError(f"smooth_lag_ms: expected 0 to {MAX_LAG_MS:.0f}, found {lag_ms}")
        self._people, self._lag_ns = people, round(lag_ms * 1e6)

    def smoothed(self, tracked: Iterable[tuple[Frame, PoseFrame]]) -> Iterator[tuple[Frame, PoseFrame]]:
        """The same pictures and people in the same order, later; ``tracked`` is what the tracker yields."""
        waiting: list[_Entry] = []
        for frame, poses in tracked:
            if waiting and poses.t_capture_ns <= waiting[-1].poses.t_capture_ns:
                yield from self._finished(waiting, len(waiting))  # time ran back: nothing belongs together
                waiting = []
            waiting.append(_Entry(frame, poses, self._people.observed, self._people.estimates))
            newest_ns = poses.t_capture_ns
            if newest_ns - waiting[0].poses.t_capture_ns >= 2 * self._lag_ns:
                ready = sum(newest_ns - entry.poses.t_capture_ns >= self._lag_ns for entry in waiting)
                yield from self._finished(waiting, ready)
                del waiting[:ready]
        yield from self._finished(waiting, len(waiting))

    def _finished(self, waiting: list[_Entry], ready: int) -> Iterator[tuple[Frame, PoseFrame]]:
        """The first ``ready`` of the pictures, corrected by all that wait."""
        tracks = {track for entry in waiting[:ready] for track in entry.estimates}
        backward = {track: _backward(self._people.begin, track, waiting) for track in tracks}
        for index, entry in enumerate(waiting[:ready]):
            shown = {person.track_id for person in entry.poses}
            states = {
                track: combined(estimate, backward[track][index])
                for track, estimate in entry.estimates.items()
                if track in shown and index in backward[track]
            }
            yield entry.frame, self._people.reposed(entry.poses, states)


def combined(forward: PersonState, backward: PersonState) -> PersonState:
    """The mean of two estimates by their variances.

    Their errors are mostly the same, so the deviation is the mean of theirs.
    """
    std, other_std = std_of(forward, floor=_STD_FLOOR), std_of(backward, floor=_STD_FLOOR)
    share = std**2 / (std**2 + other_std**2)
    origin = mean_of(forward)
    mean = move(origin, share * difference(mean_of(backward), origin))
    spread = std + share * (other_std - std)
    shape = forward.betas_std**2 / (forward.betas_std**2 + backward.betas_std**2 + _STD_FLOOR**2)
    return replace(
        forward,
        z=np.asarray(mean.z, np.float32),
        z_std=spread[:-6],
        root_quat_wxyz=np.array(mean.root, np.float32),
        root_std_rad=float(np.sqrt(np.square(spread[-6:-3]).mean())),
        translation_m=np.asarray(mean.translation_m, np.float32),
        translation_std_m=spread[-3:],
        betas=forward.betas + shape * (backward.betas - forward.betas),
        betas_std=np.minimum(forward.betas_std, backward.betas_std),
    )


def _backward(begin: Callable[[], PoseFilter], track: int, entries: list[_Entry]) -> dict[int, PersonState]:
    """Estimates of a filter that begins at the last observation of a track, by the index of the picture."""
    motion, found = begin(), dict[int, PersonState]()
    last_ns, begun = entries[-1].poses.t_capture_ns, False
    for index in range(len(entries) - 1, -1, -1):
        entry = entries[index]
        t_ns = last_ns - entry.poses.t_capture_ns
        if track in entry.observed:
            motion.observe(t_ns, *entry.observed[track])
            begun = True
        if begun and track in entry.estimates:
            found[index] = motion.predict(t_ns)
    return found
