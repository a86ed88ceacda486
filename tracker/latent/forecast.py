"""Learned forecast of a person's motion from the estimates of any filter.

A recurrent cell reads every estimate once, at its real time, and answers with a curve of the error state
(N = D + 6 dimensions, see `kinestream.latent.dynamics`): where the person goes from that estimate, and how
the variance grows. It changes no estimate. Each term of the curve carries on a share of the last speed and of
the steady one, an average over a tenth of a second, and adds something of its own as far as there is any
motion: who is at rest stays there.

Mean, with fixed time constants T_k:      x(t0 + s) = x(t0) [+] sum_k c_k T_k (1 - exp(-s / T_k))
Variance, with non-negative coefficients: p(t0 + s) = p(t0) + b_1 s + b_2 s^2
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from kinestream.latent.dynamics import MotionCurve, Pose, Prediction, along, by_group, difference, soft_limit
from kinestream.latent.dynamics_weights import LOG_CLIP, SHAPE_CLIP, SHORTEST_SEEN_S, VELOCITY_CLIP
from kinestream.latent.forecast_weights import (
    ADVICE,
    DEFAULT_WEIGHTS,
    FORMAT,
    STEADY_S,
)
from kinestream.latent.recurrent import RecurrentCell
from kinestream.networks.weight_files import configured, fill, read_weights, save_weights

SPEED_UNIT = (4.0, 1.5, 1.0)
"""Typical speeds by which features are divided: z per s, rad/s, m/s."""
GROWTH = ((1.0, 0.3, 0.05), (2.0, 1.0, 0.4))
"""Typical growth of the variance per second, and per second squared."""


@dataclass(frozen=True)
class ForecasterConfig:
    """Size of a forecaster.

    Attributes:
        latent: D, dimension of the pose's latent space.
        hidden: width of the recurrent cell.
        time_constants_s: T_k of the curve.
    """

    latent: int = 63
    hidden: int = 192
    time_constants_s: tuple[float, ...] = (0.04, 0.12, 0.36, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_constants_s", tuple(self.time_constants_s))  # JSON knows lists only

    @property
    def state(self) -> int:
        """N, dimension of the error state."""
        return self.latent + 6

    @property
    def features(self) -> int:
        """Inputs of the cell."""
        return 2 * self.state + 3 + 1

    @property
    def outputs(self) -> int:
        """Outputs of the cell: three per time constant, two variances."""
        return self.state * (3 * len(self.time_constants_s) + 2)


class Memory(NamedTuple):
    """What is remembered between estimates: hidden state (B, H) and steady speed (B, N), in typical ones."""

    hidden: Tensor
    steady: Tensor


class MotionForecaster(RecurrentCell):
    """The recurrent cell and its curve, batched and differentiable.

    `kinestream.filtering.forecasting` runs the same computation on one person in numpy.

    Args:
        config: sizes.
        flow_id: fingerprint of the flow in whose latent space this was trained, see `flow_fingerprint`.

    """

    def __init__(self, config: ForecasterConfig, *, flow_id: str = "") -> None:
        super().__init__(config.features, config.hidden, config.outputs)
        self.config, self.flow_id = config, flow_id
        self.time_constants: Tensor
        self.speed_unit: Tensor
        self.growth: Tensor
        self.register_buffer("time_constants", torch.tensor(config.time_constants_s)[:, None])
        self.register_buffer("speed_unit", by_group(config.latent, SPEED_UNIT))
        self.register_buffer("growth", torch.stack([by_group(config.latent, values) for values in GROWTH]))

    def begin(self, count: int) -> Memory:
        """Nothing is remembered of ``count`` people."""
        new = self.speed_unit.new_zeros
        return Memory(new(count, self.config.hidden), new(count, self.config.state))

    def read(
        self, before: Pose, now: Pose, variance: Tensor, lead_s: Tensor, memory: Memory
    ) -> tuple[MotionCurve, Memory]:
        """The curve from the estimate ``now``, and what to remember.

        Args:
            before: the estimate before.
            now: the newest estimate.
            variance: (B, N) of it.
            lead_s: (B,) > 0, real time between the two.
            memory: of the last step, or of `begin`.

        """
        step_s = lead_s.clamp_min(SHORTEST_SEEN_S)[:, None]
        speed = soft_limit(difference(now, before) / step_s / self.speed_unit, VELOCITY_CLIP)
        steady = memory.steady + (1 - torch.exp(-step_s / STEADY_S)) * (speed - memory.steady)
        spread = 0.5 * variance.log()
        size = self.config.latent
        groups = [spread[:, part].mean(1) for part in (slice(size), slice(size, size + 3), slice(-3, None))]
        features = torch.cat(
            [
                speed,
                steady,
                torch.stack([*groups, torch.log(step_s[:, 0] / 0.033)], 1),
            ],
            1,
        )
        raw, hidden = self.step(features, memory.hidden)
        raw = raw.reshape(len(raw), -1, self.config.state)
        count = len(self.time_constants)
        last, lasting = (soft_limit(raw[:, k * count : (k + 1) * count], SHAPE_CLIP) for k in range(2))
        activity = steady.square().mean(1).add(1e-9).sqrt()[:, None, None]
        driven = activity * soft_limit(raw[:, 2 * count : 3 * count], VELOCITY_CLIP)
        coefficients = (last * speed[:, None] + lasting * steady[:, None] + driven) * self.speed_unit
        growth = soft_limit(raw[:, 3 * count :], LOG_CLIP).exp() * self.growth
        return MotionCurve(coefficients, torch.cat([variance[:, None], growth], 1)), Memory(hidden, steady)

    def predict(self, pose: Pose, curve: MotionCurve, lead_s: Tensor) -> Prediction:
        """The state at lead_s (B,) >= 0 after the estimate."""
        return along(self.time_constants, pose, curve, lead_s)

    def save(self, path: str | Path, *, notes: dict[str, str] | None = None) -> None:
        """Write the weights, matrices in half precision."""
        notes = {"flow_id": self.flow_id, **(notes or {})}
        config = asdict(self.config)
        save_weights(
            path, self, kind=FORMAT, config=config, notes=notes, halved=lambda name, _: "weight" in name
        )

    @classmethod
    def load(cls, path: str | Path | None = None) -> "MotionForecaster":
        """Read a forecaster in evaluation mode; None gives the shipped one.

        Raises ``FileNotFoundError``, or ``WeightsError`` where the file holds no forecaster.
        """
        path = path or DEFAULT_WEIGHTS
        file = read_weights(path, kind=FORMAT, advice=ADVICE)
        forecaster = cls(
            configured(ForecasterConfig, file.config, path=path), flow_id=file.notes.get("flow_id", "")
        )
        fill(forecaster, file.arrays, path=path)
        return forecaster.eval().requires_grad_(False)
