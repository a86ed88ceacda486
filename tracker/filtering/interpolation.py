"""Fixed delay: show what was seen 140 ms ago, interpolated between observations. Smooth, and always late."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from kinestream.filtering.base import PersonState, PoseFilter
from kinestream.filtering.error_state import difference, is_finite, mean_of, move
from kinestream.filtering.unfiltered import hold
from kinestream.kernels.array_types import Float32Array

DELAY_S = 0.140


class InterpolationFilter(PoseFilter):
    """Linear between the two observations around ``t - delay_s``; the root along the shortest arc.

    Refuses observations that are not finite or whose time does not advance, as if they had not come.
    """

    name = "interpolation"

    def __init__(self, *, delay_s: float = DELAY_S) -> None:
        if not delay_s > 0:
            raise ValueError(f"delay_s: expected a positive number, found {delay_s}")
        self._delay_ns = round(delay_s * 1e9)
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self._seen: deque[tuple[int, PersonState]] = deque()

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Keep what was seen; returns what is shown at ``t_ns``."""
        if is_finite(observed) and (not self._seen or t_ns > self._seen[-1][0]):
            self._seen.append((t_ns, observed))
            while len(self._seen) > 2 and self._seen[1][0] <= t_ns - self._delay_ns:
                self._seen.popleft()
        return self.predict(t_ns)

    def predict(self, t_ns: int) -> PersonState:
        """What is shown at ``t_ns``; the last observation is held where nothing newer was seen."""
        if not self._seen:
            raise RuntimeError("predict: there was no update yet")
        at = t_ns - self._delay_ns
        before = self._seen[0]
        for after in self._seen:
            if after[0] >= at:
                return between(before, after, at)
            before = after
        return hold(before[1], (at - before[0]) / 1e9)


def between(before: tuple[int, PersonState], after: tuple[int, PersonState], t_ns: int) -> PersonState:
    """The state at ``t_ns`` on the straight way between two (time, state), or the nearer end."""
    span = after[0] - before[0]
    share = np.float32(min(1.0, max(0.0, (t_ns - before[0]) / span)) if span > 0 else 1.0)
    start, end = before[1], after[1]
    mean = move(mean_of(start), share * difference(mean_of(end), mean_of(start)))

    def mixed(one: Float32Array, other: Float32Array) -> Float32Array:
        return np.asarray(one + share * (other - one), np.float32)

    return replace(
        end,
        z=mean.z,
        z_std=mixed(start.z_std, end.z_std),
        root_quat_wxyz=np.array(mean.root, np.float32),
        root_std_rad=float(mixed(np.float32(start.root_std_rad), np.float32(end.root_std_rad))),
        translation_m=mean.translation_m,
        translation_std_m=mixed(start.translation_std_m, end.translation_std_m),
        betas=mixed(start.betas, end.betas),
        betas_std=mixed(start.betas_std, end.betas_std),
    )
