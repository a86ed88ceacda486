"""Learned dynamics of the latent pose: after every observation, one curve in time with its covariance.

The state of a person has N = D + 6 dimensions: latent pose z (D), root rotation (3, rotation vector in the
pelvis frame) and translation (3, camera frame, metres). A recurrent cell reads every observation once and
answers with (i) how much of the innovation to accept, dimension by dimension, and (ii) a `MotionCurve`:
closed-form mean and variance of the state at any time until the next observation. Prediction to the capture
time, forecast to the publish time and coasting through misses are all evaluations of that curve, so they
agree with each other at any frame rate and cost the same however long the track is.

Mean, with fixed time constants T_k:      x(t0 + s) = x(t0) [+] sum_k c_k T_k (1 - exp(-s / T_k))
Variance, with non-negative coefficients: p(t0 + s) = a_0 + a_1 s + a_2 s^2
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from kinestream.geometry.rotation import (
    axis_angle_from_quat,
    matrix_from_quat,
    quat_from_axis_angle,
    quat_multiply,
    sixd_from_matrix,
)
from kinestream.latent.dynamics_weights import (
    ADVICE,
    DEFAULT_WEIGHTS,
    FORMAT,
    INNOVATION_CLIP,
    LOG_CLIP,
    MIN_STEP_S,
    SHAPE_CLIP,
    SHORTEST_SEEN_S,
    VELOCITY_CLIP,
)
from kinestream.latent.recurrent import RecurrentCell
from kinestream.networks.weight_files import configured, fill, read_weights, save_weights

VELOCITY_UNIT = (4.0, 1.5, 1.0)
"""Typical speeds by which features are divided: z per s, rad/s, m/s."""
INITIAL_DIFFUSION = (1.0, 0.3, 0.05)
INITIAL_SPEED_STD = (1.5, 1.0, 0.6)
"""Before the second observation: growth of the variance per s, and std of the unknown velocity."""


@dataclass(frozen=True)
class DynamicsConfig:
    """Size of the dynamics.

    Attributes:
        latent: D, dimension of the pose's latent space.
        hidden: width of the recurrent cell.
        time_constants_s: T_k of the motion curve.
    """

    latent: int = 63
    hidden: int = 160
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
        return 4 * self.state + self.latent + 6 + 3

    @property
    def outputs(self) -> int:
        """Outputs of the cell: gain, velocity gain, offset, two per time constant, three variances."""
        return self.state * (6 + 2 * len(self.time_constants_s))


class Pose(NamedTuple):
    """Mean of the state: z (B, D), unit quaternion root_quat_wxyz (B, 4), translation_m (B, 3)."""

    z: Tensor
    root_quat_wxyz: Tensor
    translation_m: Tensor


class MotionCurve(NamedTuple):
    """Where the state goes from here: coefficients (B, K, N), variances (B, 3, N)."""

    coefficients: Tensor
    variances: Tensor


class FilterStep(NamedTuple):
    """Everything a track remembers: pose and curve at the last observation, and the hidden state (B, H)."""

    pose: Pose
    curve: MotionCurve
    hidden: Tensor


class Prediction(NamedTuple):
    """Mean, variance (B, N) and velocity (B, N) of the state at some time after the last observation."""

    pose: Pose
    variance: Tensor
    velocity: Tensor


class LatentDynamics(RecurrentCell):
    """The recurrent cell, the motion curve and their use as a filter, batched and differentiable.

    `kinestream.filtering.learned` runs the same computation on one person in numpy.

    Args:
        config: sizes.
        flow_id: fingerprint of the flow in whose latent space this was trained, see `flow_fingerprint`.

    """

    def __init__(self, config: DynamicsConfig, *, flow_id: str = "") -> None:
        super().__init__(config.features, config.hidden, config.outputs)
        self.config, self.flow_id = config, flow_id
        n, count = config.state, len(config.time_constants_s)
        self.time_constants: Tensor
        self.velocity_unit: Tensor
        self.initial_variance: Tensor
        self.std_scale: Tensor
        self.register_buffer("time_constants", torch.tensor(config.time_constants_s)[:, None])
        self.register_buffer("velocity_unit", by_group(config.latent, VELOCITY_UNIT))
        growth = torch.stack(
            [by_group(config.latent, INITIAL_DIFFUSION), by_group(config.latent, INITIAL_SPEED_STD).square()]
        )
        self.register_buffer("initial_variance", growth)
        # published std = (std_scale[0] + std_scale[1] * min(lead, 0.5 s)) times that of the curve; (2, N)
        self.register_buffer("std_scale", torch.stack([torch.ones(n), torch.zeros(n)]))
        with torch.no_grad():
            bias = torch.zeros(6 + 2 * count, n)
            bias[1] = -1.0
            bias[3 + min(1, count - 1)] = 1.0
            self.head.bias.copy_(bias.flatten())

    def start(self, observed: Pose, variance: Tensor) -> FilterStep:
        """State after the first observation with its variance (B, N): accepted as it is, velocity unknown."""
        batch = len(variance)
        zeros = variance.new_zeros(batch, len(self.time_constants), self.config.state)
        growth = self.initial_variance.expand(batch, 2, -1)
        curve = MotionCurve(zeros, torch.cat([variance[:, None], growth], 1))
        return FilterStep(observed, curve, variance.new_zeros(batch, self.config.hidden))

    def predict(self, pose: Pose, curve: MotionCurve, lead_s: Tensor) -> Prediction:
        """The state at lead_s (B,) >= 0 after the last observation."""
        return along(self.time_constants, pose, curve, lead_s)

    def update(
        self,
        prediction: Prediction,
        hidden: Tensor,
        lead_s: Tensor,
        observed: Pose,
        variance: Tensor,
        smoothness: Tensor,
    ) -> FilterStep:
        """Fuse an observation with the prediction for its time, lead_s (B,) > 0 after the last one.

        Args:
            prediction: the state predicted to the time of the observation.
            hidden: (B, H) of the last step.
            lead_s: (B,) real time since the last observation.
            observed: the observation.
            variance: (B, N) of the observation.
            smoothness: (B,) -1 (fast) .. 1 (smooth), the wanted place on the frontier.

        """
        prior, spread, velocity = prediction
        scale = (spread + variance).sqrt()
        innovation = difference(observed, prior) / scale
        limited = soft_limit(innovation, INNOVATION_CLIP)
        features = torch.cat(
            [
                limited,
                0.5 * variance.log(),
                0.5 * spread.log(),
                velocity / self.velocity_unit,
                soft_limit(prior.z, VELOCITY_CLIP),
                sixd_from_matrix(matrix_from_quat(prior.root_quat_wxyz)),
                torch.log(lead_s.clamp_min(SHORTEST_SEEN_S) / 0.033)[:, None],
                0.5 * torch.log1p(innovation.square().mean(1, keepdim=True)),
                smoothness[:, None],
            ],
            1,
        )
        raw, hidden = self.step(features, hidden)
        raw = raw.reshape(len(raw), -1, self.config.state)
        count = len(self.time_constants)
        gain = torch.sigmoid((spread / variance).log() + raw[:, 0])
        settled = spread * variance / (spread + variance)
        correction = gain * limited * scale + soft_limit(0.3 * raw[:, 2], 1.0) * settled.sqrt()
        pace = lead_s.clamp_min(MIN_STEP_S)[:, None]
        velocity = velocity + torch.sigmoid(raw[:, 1]) * correction / pace
        carried = soft_limit(raw[:, 3 : 3 + count], SHAPE_CLIP)
        driven = soft_limit(raw[:, 3 + count : 3 + 2 * count], VELOCITY_CLIP)
        logs = soft_limit(raw[:, 3 + 2 * count :], LOG_CLIP)
        speed = soft_limit(velocity / self.velocity_unit, VELOCITY_CLIP)
        coefficients = (carried * speed[:, None] + driven) * self.velocity_unit
        base = torch.stack([settled, *self.initial_variance.expand(len(settled), 2, -1).unbind(1)], 1)
        return FilterStep(move(prior, correction), MotionCurve(coefficients, base * logs.exp()), hidden)

    def save(self, path: str | Path, *, notes: dict[str, str] | None = None) -> None:
        """Write the weights, matrices in half precision."""
        notes = {"flow_id": self.flow_id, **(notes or {})}
        config = asdict(self.config)
        save_weights(
            path, self, kind=FORMAT, config=config, notes=notes, halved=lambda name, _: "weight" in name
        )

    @classmethod
    def load(cls, path: str | Path | None = None) -> "LatentDynamics":
        """Read dynamics in evaluation mode; None gives the shipped ones.

        Raises ``FileNotFoundError``, or ``WeightsError`` where the file holds no latent dynamics.
        """
        path = path or DEFAULT_WEIGHTS
        file = read_weights(path, kind=FORMAT, advice=ADVICE)
        dynamics = cls(
            configured(DynamicsConfig, file.config, path=path), flow_id=file.notes.get("flow_id", "")
        )
        fill(dynamics, file.arrays, path=path)
        return dynamics.eval().requires_grad_(False)


def by_group(latent: int, values: tuple[float, float, float]) -> Tensor:
    """One value for each latent, root and translation dimension of the error state, (N,)."""
    sizes = (latent, 3, 3)
    return torch.cat([torch.full((size,), value) for size, value in zip(sizes, values, strict=True)])


def along(time_constants: Tensor, pose: Pose, curve: MotionCurve, lead_s: Tensor) -> Prediction:
    """The state at lead_s (B,) >= 0 along a curve with these time constants (K, 1) from a pose."""
    decay = torch.exp(-lead_s[:, None, None] / time_constants)
    velocity = (curve.coefficients * decay).sum(1)
    step = (curve.coefficients * (time_constants * (1 - decay))).sum(1)
    lead = lead_s[:, None]
    variance = curve.variances[:, 0] + lead * (curve.variances[:, 1] + lead * curve.variances[:, 2])
    return Prediction(move(pose, step), variance, velocity)


def soft_limit(value: Tensor, limit: float) -> Tensor:
    """The value where it is small, and never beyond +-limit."""
    return limit * torch.tanh(value / limit)


def move(pose: Pose, step: Tensor) -> Pose:
    """The pose plus an error state (B, N); the root turns in its own frame."""
    size = pose.z.shape[1]
    root = quat_multiply(pose.root_quat_wxyz, quat_from_axis_angle(step[:, size : size + 3]))
    root = functional.normalize(root, dim=-1)
    return Pose(pose.z + step[:, :size], root, pose.translation_m + step[:, size + 3 :])


def difference(target: Pose, origin: Pose) -> Tensor:
    """The error state (B, N) that moves origin to target."""
    w, vector = origin.root_quat_wxyz.tensor_split([1], -1)
    inverse = torch.cat([w, -vector], -1)
    turn = axis_angle_from_quat(quat_multiply(inverse, target.root_quat_wxyz))
    return torch.cat([target.z - origin.z, turn, target.translation_m - origin.translation_m], 1)


def student_nll(error: Tensor, variance: Tensor, *, freedom: float = 5.0) -> Tensor:
    """Negative log-likelihood of errors under Student's t with scale sqrt(variance), up to a constant."""
    tail = 0.5 * (freedom + 1) * torch.log1p(error.square() / (freedom * variance))
    return 0.5 * variance.log() + tail
