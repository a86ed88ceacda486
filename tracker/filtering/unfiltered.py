"""No filter: each observation as it is, held until the next."""

import math
from dataclasses import replace

from kinestream.filtering.base import GROWTH_PER_S, PersonState, PoseFilter, grown


class Unfiltered(PoseFilter):
    """Returns what was observed; the baseline against which lag is measured."""

    name = "none"

    def __init__(self) -> None:
        self._state: PersonState | None = None
        self._t_ns = 0

    def reset(self) -> None:
        """Forget the person."""
        self._state = None

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Return ``observed``."""
        self._state, self._t_ns = observed, t_ns
        return observed

    def predict(self, t_ns: int) -> PersonState:
        """The last observation, ever less certain."""
        if self._state is None:
            raise RuntimeError("predict: there was no update yet")
        return hold(self._state, max(0, t_ns - self._t_ns) / 1e9)


def hold(state: PersonState, lead_s: float) -> PersonState:
    """A person who stands still for ``lead_s``, as far as we know."""
    z_speed, root_speed, translation_speed = GROWTH_PER_S
    return replace(
        state,
        z_std=grown(state.z_std, z_speed, lead_s),
        root_std_rad=math.hypot(state.root_std_rad, root_speed * lead_s),
        translation_std_m=grown(state.translation_std_m, translation_speed, lead_s),
    )
