"""Constant-velocity Kalman filter, dimension by dimension: the classic to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinestream.filtering.error_state import Mean, move
from kinestream.filtering.gated import GatedFilter
from kinestream.filtering.gating import Gate
from kinestream.kernels.array_types import Float32Array

START_SPEED_STD = (2.0, 1.5, 1.0)
"""Standard deviation of the unknown first velocity: z per s, rad/s, m/s."""
LONGEST_FORECAST_S = 0.5
"""How long a velocity is carried on; after it the person stands, as far as we know."""


@dataclass(frozen=True)
class KalmanSettings:
    """Spectral densities of white acceleration (units^2 / s^3), and the noise that correlates in time.

    The defaults have the least error on held-out mocap with realistic noise (docs/benchmarks/filter.json).

    Attributes:
        latent, root, translation: densities.
        inflation: factor on the reported variances, which accounts for errors that repeat.
        repeated: share of the last observation's variance that is published beside the filter's own: what
            the network errs alike in every frame does not average away.
    """

    latent: float = 125.0
    root: float = 2.5
    translation: float = 0.25
    inflation: float = 1.0
    repeated: float = 0.9

    def __post_init__(self) -> None:
        positive = min(self.latent, self.root, self.translation, self.inflation) > 0
        if not (positive and self.repeated >= 0):
            raise ValueError(f"KalmanSettings: expected positive numbers, found {self}")


class KalmanFilter(GatedFilter):
    """Position and velocity in each dimension of the error state, covariances (N,) of the three kinds."""

    name = "kalman"

    def __init__(
        self,
        settings: KalmanSettings | None = None,
        *,
        gate: Gate | None = None,
    ) -> None:
        self._settings = settings or KalmanSettings()
        super().__init__(gate=gate or Gate())

    def _start(self, mean: Mean, variance: Float32Array) -> None:
        sizes = [len(variance) - 6, 3, 3]
        settings = self._settings
        densities = (settings.latent, settings.root, settings.translation)
        self._density = np.repeat(np.array(densities, np.float32), sizes)
        self._mean, self._velocity = mean, np.zeros_like(variance)
        self._pp = variance * np.float32(settings.inflation)
        self._pv = np.zeros_like(variance)
        self._vv = np.repeat(np.square(np.array(START_SPEED_STD, np.float32)), sizes)
        self._repeated = np.zeros_like(variance)

    def _predicted(self, lead_s: float) -> tuple[Mean, Float32Array]:
        carried = np.float32(min(lead_s, LONGEST_FORECAST_S))
        lead = np.float32(lead_s)
        variance = self._pp + lead * (2 * self._pv + lead * (self._vv + lead / 3 * self._density))
        return move(self._mean, carried * self._velocity), variance

    def _published(self, lead_s: float) -> tuple[Mean, Float32Array]:
        mean, variance = self._predicted(lead_s)
        return mean, np.sqrt(variance + self._repeated)

    def _fuse(
        self, lead_s: float, innovation: Float32Array, scale: Float32Array, observed_variance: Float32Array
    ) -> None:
        mean, pp = self._predicted(lead_s)
        self._repeated = observed_variance * np.float32(self._settings.repeated)
        lead = np.float32(lead_s)
        pv = self._pv + lead * (self._vv + lead / 2 * self._density)
        vv = self._vv + lead * self._density
        total = pp + observed_variance * np.float32(self._settings.inflation)
        gain, velocity_gain = pp / total, pv / total
        self._mean = move(mean, gain * innovation)
        self._velocity = self._velocity + velocity_gain * innovation
        self._pp, self._pv, self._vv = (1 - gain) * pp, (1 - gain) * pv, vv - velocity_gain * pv
