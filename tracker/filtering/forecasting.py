"""Any filter with a learned forecast beyond its last estimate: `kinestream.latent.forecast` in plain numpy.

Estimates at the time of a picture are the filter's own. Between pictures, ahead of them, and while somebody
is out of sight, a mean of the filter's forecast and the forecaster's counts: their errors differ, and each
alone is worse on some real video (docs/experiments.md). Deviations are the filter's, whose intervals hold;
those of the forecaster serve its training alone. Nothing here imports torch; a test holds the two forms
together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kinestream.filtering.base import FilterAround, FilterFactory, KeypointEvidence, PersonState, PoseFilter
from kinestream.filtering.error_state import (
    Mean,
    difference,
    mean_of,
    move,
    std_of,
)
from kinestream.filtering.gated import STD_FLOOR
from kinestream.filtering.gating import LONGEST_COAST_S
from kinestream.filtering.recurrent import recurrent_step, soft_limit
from kinestream.kernels.array_types import Float32Array
from kinestream.latent.dynamics_weights import SHAPE_CLIP, SHORTEST_SEEN_S, VELOCITY_CLIP
from kinestream.latent.forecast_weights import STEADY_S, ForecasterWeights

LONGEST_FORECAST_S = 1.0
"""How long a motion is carried on."""
SHARE = 0.6
"""Of the forecaster in the mean."""


class ForecastingFilter(FilterAround):
    """A filter whose estimates are carried on by a forecaster.

    Args:
        motion: the filter.
        weights: the forecaster; the shipped one by default.

    Raises ``ValueError`` at the first estimate whose latents are of another size than the forecaster's.
    """

    name = "forecasting"

    def __init__(self, motion: PoseFilter, weights: ForecasterWeights | None = None) -> None:
        super().__init__(motion)
        self._weights = weights or ForecasterWeights.load()
        self._forget()

    def reset(self) -> None:
        """Forget the person."""
        self.motion.reset()
        self._forget()

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Take in what was seen at ``t_ns``; returns the filter's estimate."""
        return self._read(t_ns, self.motion.update(t_ns, observed))

    def observe(self, t_ns: int, observed: PersonState, evidence: KeypointEvidence) -> PersonState:
        """Take in what was seen at ``t_ns`` with its keypoints; returns the filter's estimate."""
        return self._read(t_ns, self.motion.observe(t_ns, observed, evidence))

    def predict(self, t_ns: int) -> PersonState:
        """The estimate for ``t_ns``; after the last one a mean of both forecasts."""
        if self._last is None or t_ns <= self._t_ns:
            return self.motion.predict(t_ns)
        constants = self._weights.time_constants_s
        lead_s = np.float32(min((t_ns - self._t_ns) / 1e9, LONGEST_FORECAST_S))
        foretold = move(mean_of(self._last), constants * -np.expm1(-lead_s / constants) @ self._coefficients)
        own = self.motion.predict(t_ns)
        origin = mean_of(own)
        mean = move(origin, np.float32(SHARE) * difference(foretold, origin))
        return replace(
            own,
            z=np.asarray(mean.z, np.float32),
            root_quat_wxyz=np.array(mean.root, np.float32),
            translation_m=np.asarray(mean.translation_m, np.float32),
        )

    def _forget(self) -> None:
        size = self._weights.latent + 6
        self._last: PersonState | None = None
        self._t_ns = 0
        self._begin(size)

    def _begin(self, size: int) -> None:
        arrays = self._weights.arrays
        self._hidden = np.zeros(len(arrays["embed.bias"]), np.float32)
        self._steady = np.zeros(size, np.float32)  # speed over a while, in typical ones
        self._coefficients = np.zeros((len(self._weights.time_constants_s), size), np.float32)

    def _read(self, t_ns: int, estimate: PersonState) -> PersonState:
        """Run the cell once on a new estimate."""
        size = self._weights.latent
        if len(estimate.z) != size:
            raise ValueError(
                f"the forecaster expects latents of {size} numbers, found {len(estimate.z)}; "
                "forecaster and regressor must come from the same flow"
            )
        if self._last is None:
            self._last, self._t_ns = estimate, t_ns
            return estimate
        if t_ns <= self._t_ns:
            return estimate
        before, lead_s = mean_of(self._last), (t_ns - self._t_ns) / 1e9
        self._last, self._t_ns = estimate, t_ns
        if lead_s > LONGEST_COAST_S:
            self._begin(size + 6)
            return estimate
        self._foretell(before, mean_of(estimate), std_of(estimate, floor=STD_FLOOR), lead_s)
        return estimate

    def _foretell(self, before: Mean, now: Mean, std: Float32Array, lead_s: float) -> None:
        arrays, size = self._weights.arrays, self._weights.latent
        unit, count = arrays["speed_unit"], len(self._weights.time_constants_s)
        step_s = np.float32(max(lead_s, SHORTEST_SEEN_S))
        speed = soft_limit(difference(now, before) / step_s / unit, VELOCITY_CLIP)
        self._steady = self._steady - np.expm1(-step_s / np.float32(STEADY_S)) * (speed - self._steady)
        spread = np.log(std)
        features = np.concatenate(
            [
                speed,
                self._steady,
                [part.mean() for part in np.split(spread, (size, size + 3))],
                [np.log(step_s / np.float32(0.033))],
            ],
            dtype=np.float32,
        )
        raw, self._hidden = recurrent_step(arrays, features, self._hidden)
        raw = raw.reshape(-1, size + 6)
        last, lasting = (soft_limit(raw[k * count : (k + 1) * count], SHAPE_CLIP) for k in range(2))
        activity = np.sqrt(np.square(self._steady).mean() + np.float32(1e-9))
        driven = activity * soft_limit(raw[2 * count : 3 * count], VELOCITY_CLIP)
        self._coefficients = (last * speed + lasting * self._steady + driven) * unit


def with_forecasts(new_filter: FilterFactory, weights: ForecasterWeights) -> FilterFactory:
    """What makes such filters, each around a new one."""

    def new() -> ForecastingFilter:
        return ForecastingFilter(new_filter(), weights)

    return new
