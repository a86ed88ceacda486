"""The learned filter of one person: `kinestream.latent.dynamics` in plain numpy.

Nothing here imports torch when weights are read from a file; `LatentDynamics.update` is the same computation,
batched and differentiable, and a test holds the two together.
"""

from __future__ import annotations

import numpy as np

from kinestream.filtering.error_state import Mean, move, rotation_columns
from kinestream.filtering.gated import GatedFilter
from kinestream.filtering.gating import Gate
from kinestream.filtering.recurrent import recurrent_step, sigmoid, soft_limit
from kinestream.kernels.array_types import Float32Array
from kinestream.latent.dynamics_weights import (
    INNOVATION_CLIP,
    LOG_CLIP,
    MIN_STEP_S,
    SHAPE_CLIP,
    SHORTEST_SEEN_S,
    VELOCITY_CLIP,
    DynamicsWeights,
)

LONGEST_FORECAST_S = 1.0
"""How long a motion is carried on; uncertainty keeps growing after it."""
CALIBRATED_LEAD_S = 0.5
DEFAULT_SMOOTHNESS = 0.75
"""Behind temporal lifter and measurement update: near, calm, and hardly late (docs/decisions.md)."""


class LearnedFilter(GatedFilter):
    """Gains, motion and uncertainty from a recurrent cell that sees each accepted observation once.

    Args:
        weights: the dynamics; the shipped ones by default.
        smoothness: -1 (fast) .. 1 (smooth).
        gate: which observations are accepted.
    """

    name = "learned"
    smoothness: float

    def __init__(
        self,
        weights: DynamicsWeights | None = None,
        *,
        smoothness: float = DEFAULT_SMOOTHNESS,
        gate: Gate | None = None,
    ) -> None:
        if not -1 <= smoothness <= 1:
            raise ValueError(f"smoothness: expected a number from -1 to 1, found {smoothness}")
        self.weights = weights or DynamicsWeights.load()
        self.smoothness = smoothness
        self._hidden_size = len(self.weights.arrays["embed.bias"])
        super().__init__(gate=gate or Gate())

    def _start(self, mean: Mean, variance: Float32Array) -> None:
        size = self.weights.latent
        if len(mean.z) != size:
            raise ValueError(
                f"the learned filter expects latents of {size} numbers, found {len(mean.z)}; "
                "dynamics and regressor must come from the same flow"
            )
        self._mean = mean
        self._hidden = np.zeros(self._hidden_size, np.float32)
        self._coefficients = np.zeros((len(self.weights.time_constants_s), size + 6), np.float32)
        self._variances = np.concatenate([variance[None], self.weights.arrays["initial_variance"]])

    def _predicted(self, lead_s: float) -> tuple[Mean, Float32Array]:
        constants = self.weights.time_constants_s
        reach = constants * -np.expm1(-np.float32(min(lead_s, LONGEST_FORECAST_S)) / constants)
        lead = np.float32(lead_s)
        variance = self._variances[0] + lead * (self._variances[1] + lead * self._variances[2])
        return move(self._mean, reach @ self._coefficients), variance

    def _published(self, lead_s: float) -> tuple[Mean, Float32Array]:
        mean, variance = self._predicted(lead_s)
        offset, slope = self.weights.arrays["std_scale"]
        return mean, np.sqrt(variance) * (offset + slope * np.float32(min(lead_s, CALIBRATED_LEAD_S)))

    def _fuse(
        self, lead_s: float, innovation: Float32Array, scale: Float32Array, observed_variance: Float32Array
    ) -> None:
        arrays, count = self.weights.arrays, len(self.weights.time_constants_s)
        prior, spread = self._predicted(lead_s)
        decay = np.exp(-np.float32(lead_s) / self.weights.time_constants_s)
        velocity = decay @ self._coefficients
        normalised = innovation / scale
        limited = soft_limit(normalised, INNOVATION_CLIP)
        features = np.concatenate(
            [
                limited,
                0.5 * np.log(observed_variance),
                0.5 * np.log(spread),
                velocity / arrays["velocity_unit"],
                soft_limit(prior.z, VELOCITY_CLIP),
                rotation_columns(prior.root),
                (
                    np.log(max(lead_s, SHORTEST_SEEN_S) / 0.033),
                    0.5 * np.log1p(float(np.square(normalised).mean())),
                    self.smoothness,
                ),
            ],
            dtype=np.float32,
        )
        raw, self._hidden = recurrent_step(arrays, features, self._hidden)
        raw = raw.reshape(-1, len(innovation))
        gain = sigmoid(np.log(spread / observed_variance) + raw[0])
        settled = spread * observed_variance / (spread + observed_variance)
        correction = gain * limited * scale + soft_limit(np.float32(0.3) * raw[2], 1.0) * np.sqrt(settled)
        pace = np.float32(max(lead_s, MIN_STEP_S))
        velocity = velocity + sigmoid(raw[1]) * correction / pace
        carried = soft_limit(raw[3 : 3 + count], SHAPE_CLIP)
        driven = soft_limit(raw[3 + count : 3 + 2 * count], VELOCITY_CLIP)
        speed = soft_limit(velocity / arrays["velocity_unit"], VELOCITY_CLIP)
        growth = np.exp(soft_limit(raw[3 + 2 * count :], LOG_CLIP))
        self._mean = move(prior, correction)
        self._coefficients = (carried * speed + driven) * arrays["velocity_unit"]
        self._variances = np.concatenate([settled[None], arrays["initial_variance"]]) * growth
