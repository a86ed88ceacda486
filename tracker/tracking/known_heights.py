"""Who has which of the heights that were given, and what that makes of an observation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from kinestream.body.arrays import BodyArrays
from kinestream.body.stature import Stature, check_heights
from kinestream.filtering import PersonState
from kinestream.tracking.association import Track


class KnownHeights:
    """One height for everybody, or one for each person in the order in which they come.

    Those who come together count from left to right. Whoever leaves frees a height for the next; without a
    free one people stay as they are estimated.
    """

    def __init__(self, stature: Stature, heights_m: float | Sequence[float]) -> None:
        """Take the heights. Raises ``ValueError`` for impossible ones."""
        check_heights(heights_m)
        self._stature = stature
        self._common = heights_m if isinstance(heights_m, int | float) else None
        self._free = [] if isinstance(heights_m, int | float) else list(heights_m)
        self._owned: dict[Track, float] = {}

    @classmethod
    def given(cls, body: BodyArrays, heights_m: float | Sequence[float] | None) -> KnownHeights | None:
        """For people of a body; None where no height is known."""
        return None if heights_m is None else cls(Stature(body), heights_m)

    def assign(self, tracks: Iterable[Track]) -> None:
        """Give the shown ones of these tracks, which are all there are, their heights."""
        there = list(tracks)
        for track in [track for track in self._owned if track not in there]:
            self._free.insert(0, self._owned.pop(track))
        fresh = [track for track in there if track.shown and track not in self._owned]
        for track in sorted(fresh, key=lambda track: float(track.box_xyxy_px[0] + track.box_xyxy_px[2])):
            if self._free:
                self._owned[track] = self._free.pop(0)

    def of(self, track: Track) -> float | None:
        """The height of a track; of one that is not shown yet, that which it would get."""
        if self._common is not None:
            return self._common
        if track in self._owned or track.shown:
            return self._owned.get(track)
        return self._free[0] if self._free else None

    def scaled(self, track: Track, state: PersonState) -> PersonState:
        """The state with the height of its track, as far away as then fits the picture."""
        height_m = self.of(track)
        if height_m is None:
            return state
        scale = np.float32(height_m / max(self._stature.height_m(state.betas), 0.1))
        left = self._stature.std_left
        return replace(
            state,
            betas=self._stature.with_height(state.betas, height_m),
            betas_std=state.betas_std * left[: len(state.betas_std)],
            translation_m=state.translation_m * scale,
            translation_std_m=state.translation_std_m * scale,
        )
