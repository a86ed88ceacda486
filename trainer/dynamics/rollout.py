"""The learned filter unrolled over observed motion: the pass itself and its losses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from kinestream.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from kinestream.geometry.rotation import matrix_from_quat
from kinestream.latent.dynamics import (
    FilterStep,
    LatentDynamics,
    MotionCurve,
    Pose,
    Prediction,
    difference,
    student_nll,
)
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, REST_JOINTS_M
from kinestream.trainer.dynamics.batches import Batch

ERROR_UNIT_M = 0.012
JERK_UNIT_M = 0.04
AHEAD_UNIT_M = 0.03
LAG_UNIT_S = 0.1
"""What costs one nat a dimension: error of joints, of their second difference, of forecasts; lag."""
SLIDE_UNIT_M_S = 0.1
"""The same for the speed of feet that stand."""
FEET = tuple(JOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right") for name in ("ankle", "foot"))
STANDING_M_S = 0.15
"""A foot that truly moves more slowly, but for the drift of the camera, stands."""
OFFSET_UNITS = (0.4, 0.2)
"""What costs one nat a sequence: lasting offset from a real regressor, latent and root (radians)."""
ROOT_WEIGHT = 5.0
"""How much more the likelihood of root and translation, which move every joint, counts than a latent's."""
SMOOTHNESS_DECADES = 1.2
"""At smoothness 1 the second difference weighs ten to this power more, and lag less; at -1 the reverse."""
Tensors = TypeVar("Tensors", Pose, MotionCurve)
Advance = Callable[..., tuple[Prediction, FilterStep]]


@dataclass(frozen=True)
class Losses:
    """Means over a batch, differentiable."""

    nll: Tensor  # Student's t, per dimension, of estimates and forecasts
    mpjpe_m: Tensor  # joints around the pelvis, estimates
    ahead_mpjpe_m: Tensor  # the same at random leads up to half a second
    jerk_m: Tensor  # error of the second difference of joints, scaled to 30 Hz
    lag_s: Tensor  # delay of joints around the pelvis, estimates
    place_lag_s: Tensor  # delay of the pelvis, estimates
    slide_m_s: Tensor  # speed of feet that stand, estimates
    total: Tensor  # what is minimised

    def numbers(self) -> dict[str, float]:
        """The values by name."""
        return {entry.name: float(getattr(self, entry.name).detach()) for entry in fields(self)}


@dataclass(frozen=True)
class Rollout:
    """What the filter said at frames 1 .. T-1 of each sequence, all flattened to (B * (T-1), ...)."""

    prior: Prediction  # prediction for the frame, before its observation
    estimate: Prediction  # the estimate at the frame; the prediction where the frame was missed
    ahead: Prediction  # forecast for `lead_s` after the frame
    age_s: Tensor  # time since the last observation

    def residuals(self, data: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Time since the last observation, error, variance and validity of estimates, then of forecasts."""
        error = difference(after_first(data.truth), self.estimate.pose)
        yield self.age_s, error, self.estimate.variance, data.valid[:, 1:].flatten()
        error = difference(after_first(data.ahead), self.ahead.pose)
        lead = self.age_s + data.lead_s[:, 1:].flatten()
        yield lead, error, self.ahead.variance, data.ahead_valid[:, 1:].flatten()


def unroll(dynamics: LatentDynamics, data: Batch, *, step: Advance | None = None) -> Rollout:
    """Filter a batch from its first frame to its last; `step` may be a compiled `advance`."""
    step = step or advance
    state = dynamics.start(pose_at(data.observed, 0), data.std[:, 0].square())
    last = data.times_s[:, 0]
    priors: list[Prediction] = []
    states: list[FilterStep] = []
    ages: list[Tensor] = []
    for k in range(1, data.times_s.shape[1]):
        now, seen = data.times_s[:, k], ~data.missing[:, k]
        gap = (now - last).float()
        variance = data.std[:, k].square()
        prior, new = step(dynamics, state, gap, pose_at(data.observed, k), variance, data.smoothness)
        state = _pick_state(seen, new, state)
        last = torch.where(seen, now, last)
        priors.append(prior)
        states.append(state)
        ages.append((now - last).float())
    pose = joined(Pose, [state.pose for state in states])
    curve = joined(MotionCurve, [state.curve for state in states])
    age = torch.stack(ages, 1).flatten()
    return Rollout(
        prior=Prediction(
            joined(Pose, [prior.pose for prior in priors]),
            torch.stack([prior.variance for prior in priors], 1).flatten(0, 1),
            torch.stack([prior.velocity for prior in priors], 1).flatten(0, 1),
        ),
        estimate=dynamics.predict(pose, curve, age),
        ahead=dynamics.predict(pose, curve, age + data.lead_s[:, 1:].flatten()),
        age_s=age,
    )


def unrolled_losses(
    dynamics: LatentDynamics,
    flow: PoseFlow,
    data: Batch,
    rng: np.random.Generator,
    *,
    windows: int = 4,
    step: Advance | None = None,
) -> Losses:
    """Filter a batch and compare with the truth; `windows` of three frames each are decoded to joints."""
    rollout = unroll(dynamics, data, step=step)
    truth, future = after_first(data.truth), after_first(data.ahead)
    valid = data.valid[:, 1:].flatten()
    prior_error = difference(truth, rollout.prior.pose)
    nll = 0.5 * _mean(weighted_nll(prior_error, rollout.prior.variance), valid)
    for (_, error, variance, usable), weight in zip(rollout.residuals(data), (1.0, 0.5), strict=True):
        nll = nll + weight * _mean(weighted_nll(error, variance), usable)
    joints = _JointErrors(flow, data, rng, windows)
    mpjpe, jerk, lag, place_lag, slide = joints.of_estimates(rollout.estimate.pose, truth)
    ahead_mpjpe = joints.of_forecasts(rollout.ahead.pose, future)
    emphasis = 10 ** (SMOOTHNESS_DECADES * data.smoothness.repeat_interleave(windows))
    smooth = _mean(emphasis * jerk.values, jerk.valid)
    recorded = data.recorded.repeat_interleave(windows)
    kinds = (recorded, 1 - recorded)  # apart: real places that are early must not excuse simulated ones
    total = (
        nll
        + mpjpe.mean / ERROR_UNIT_M
        + smooth / JERK_UNIT_M
        + lag.mean_over(1 / emphasis).clamp_min(0.0) / LAG_UNIT_S
        + sum(place_lag.mean_over(kind / emphasis).clamp_min(0.0) for kind in kinds) / LAG_UNIT_S
        + slide.mean / SLIDE_UNIT_M_S
        + ahead_mpjpe.mean / AHEAD_UNIT_M
        + _mean(_lasting_offset(rollout, data), data.recorded)
    )
    delays = (delay.mean_over(torch.ones_like(emphasis)) for delay in (lag, place_lag))
    return Losses(nll, mpjpe.mean, ahead_mpjpe.mean, jerk.mean, *delays, slide.mean, total)


def _lasting_offset(rollout: Rollout, data: Batch) -> Tensor:
    """How far estimates are from what was seen on average over each sequence (B,), in units.

    What a real regressor keeps saying is a mean of what may be already; no filter knows better.
    """
    offset = difference(after_first(data.observed), rollout.estimate.pose)
    mean = offset.unflatten(0, (len(data.times_s), -1)).mean(1)
    latent, root = mean[:, :-6], mean[:, -6:-3]
    sizes = [part.square().mean(1).add(1e-8).sqrt() for part in (latent, root)]
    return sum(size / unit for size, unit in zip(sizes, OFFSET_UNITS, strict=True))  # type: ignore[return-value]


def weighted_nll(error: Tensor, variance: Tensor) -> Tensor:
    """Student's t, (B,), mean over the dimensions by their weight."""
    weight = error.new_ones(error.shape[1])
    weight[-6:] = ROOT_WEIGHT
    return student_nll(error, variance) @ (weight / weight.sum())


class _Masked(NamedTuple):
    values: Tensor
    valid: Tensor

    @property
    def mean(self) -> Tensor:
        return _mean(self.values, self.valid)


class _Lag(NamedTuple):
    """How far points are behind along their true motion, and their squared speed; both (windows,)."""

    behind: Tensor
    speed_sq: Tensor
    valid: Tensor

    def mean_over(self, weight: Tensor) -> Tensor:
        """Lag in seconds: the delay that explains most of the error, windows weighted."""
        usable = weight * self.valid.to(weight)
        return (usable * self.behind).sum() / (usable * self.speed_sq).sum().clamp_min(1e-9)


class _JointErrors:
    """Errors in joint space in random windows of three frames, `windows` for each sequence."""

    def __init__(self, flow: PoseFlow, data: Batch, rng: np.random.Generator, windows: int) -> None:
        batch, steps = data.times_s.shape
        first = rng.integers(0, steps - 3, (batch, windows))
        rows = torch.from_numpy((first + np.arange(batch)[:, None] * (steps - 1)).flatten())
        self._flow, self._rows = flow, rows
        self._drift_m_s = data.drift_m_s.repeat_interleave(windows, 0)[:, None]
        times = data.times_s[:, 1:].flatten()
        self._before = (times[rows + 1] - times[rows]).float()
        self._after = (times[rows + 2] - times[rows + 1]).float()
        self._valid = data.valid[:, 1:].flatten()[rows + 2]
        self._ahead_valid = data.ahead_valid[:, 1:].flatten()[rows + 2]

    def of_estimates(self, estimate: Pose, truth: Pose) -> tuple[_Masked, _Masked, _Lag, _Lag, _Masked]:
        """Mean distance and error of the second difference scaled to 30 Hz (metres); lags; slide.

        Lags are of joints around the pelvis, and of the pelvis.
        """
        rows = torch.cat([self._rows + shift for shift in range(3)])
        with torch.no_grad():
            wanted = self._joints(truth, rows).reshape(3, len(self._rows), -1, 3)
        found = self._joints(estimate, rows).reshape(wanted.shape)
        error = found - wanted
        before, after = self._before[:, None, None], self._after[:, None, None]
        pace = 0.5 * (before + after)
        acceleration = ((error[2] - error[1]) / after - (error[1] - error[0]) / before) / pace
        # at every rate a compromise between metres a frame and metres a second
        scale = 0.5 * pace.square() + 0.5 * (1 / 30) ** 2
        jerk = (acceleration * scale).norm(dim=-1).mean(1)
        place, true_place = (pose.translation_m[rows].unflatten(0, (3, -1)) for pose in (estimate, truth))
        return (
            _Masked(error.norm(dim=-1).mean((0, 2)), self._valid),
            _Masked(jerk, self._valid),
            self._lag(found, wanted),
            self._lag(place[:, :, None], true_place[:, :, None]),
            # limbs follow the person: only the place learns to keep feet where they stand
            self._slide(found.detach(), estimate.translation_m[rows], wanted, truth.translation_m[rows]),
        )

    def _lag(self, found: Tensor, wanted: Tensor) -> _Lag:
        """How far points (3 frames, windows, points, 3) are behind at the frame in the middle."""
        velocity = (wanted[2] - wanted[0]) / (self._before + self._after)[:, None, None]
        behind = ((wanted[1] - found[1]) * velocity).sum((1, 2))
        return _Lag(behind, velocity.square().sum((1, 2)), self._valid)

    def _slide(self, found: Tensor, at_m: Tensor, wanted: Tensor, true_at_m: Tensor) -> _Masked:
        """Speed of each of the `FEET` but for the drift (m/s), valid where the true one stands."""
        span_s = (self._before + self._after)[:, None, None]

        def speed_m_s(joints: Tensor, pelvis_m: Tensor) -> Tensor:
            feet = joints[:, :, FEET] + pelvis_m.reshape(3, -1, 1, 3)
            velocity = (feet[2] - feet[0]) / span_s - self._drift_m_s
            return velocity.square().sum(-1).add(1e-8).sqrt()

        stands = speed_m_s(wanted, true_at_m) < STANDING_M_S
        return _Masked(speed_m_s(found, at_m), stands & self._valid[:, None])

    def of_forecasts(self, forecast: Pose, future: Pose) -> _Masked:
        """Mean distance (metres) at the last frame of each window."""
        rows = self._rows + 2
        with torch.no_grad():
            wanted = self._joints(future, rows)
        error = self._joints(forecast, rows) - wanted
        return _Masked(error.norm(dim=-1).mean(1), self._ahead_valid)

    def _joints(self, pose: Pose, rows: Tensor) -> Tensor:
        return forward_joints(self._flow.decode(pose.z[rows]), matrix_from_quat(pose.root_quat_wxyz[rows]))


def advance(
    dynamics: LatentDynamics,
    state: FilterStep,
    gap_s: Tensor,
    observed: Pose,
    variance: Tensor,
    smoothness: Tensor,
) -> tuple[Prediction, FilterStep]:
    """Predict to the time of an observation and fuse it."""
    prior = dynamics.predict(state.pose, state.curve, gap_s)
    return prior, dynamics.update(prior, state.hidden, gap_s, observed, variance, smoothness)


def forward_joints(rotations: Tensor, root: Tensor) -> Tensor:
    """Joints (B, 24, 3) around the pelvis, of rotations (B, 21, 3, 3) and root (B, 3, 3); metres."""
    rest = torch.from_numpy(REST_JOINTS_M).to(rotations)
    turned, joints = [root], [torch.zeros_like(root[..., 0])]
    for joint in range(1, NUM_JOINTS):
        parent = PARENTS[joint]
        joints.append(joints[parent] + turned[parent] @ (rest[joint] - rest[parent]))
        own = joint < NUM_BODY_JOINTS
        turned.append(turned[parent] @ rotations[:, joint - 1] if own else turned[parent])
    return torch.stack(joints, 1)


def after_first(poses: Pose) -> Pose:
    """Frames 1 .. T-1 of each sequence, flattened to (B * (T-1), ...)."""
    return Pose(*(part[:, 1:].flatten(0, 1) for part in poses))


def joined(kind: type[Tensors], parts: list[Tensors]) -> Tensors:
    """Steps of (B, ...) each as one, flattened to (B * steps, ...)."""
    return kind(*(torch.stack(tensors, 1).flatten(0, 1) for tensors in zip(*parts, strict=True)))


def pose_at(poses: Pose, step: int) -> Pose:
    """One step of sequences (B, T, ...)."""
    return Pose(*(part[:, step] for part in poses))


def pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Row by row (B,) the one or the other."""
    return torch.where(mask.reshape(-1, *(1,) * (yes.ndim - 1)), yes, no)


def _pick_state(mask: Tensor, yes: FilterStep, no: FilterStep) -> FilterStep:
    pose = Pose(*(pick(mask, a, b) for a, b in zip(yes.pose, no.pose, strict=True)))
    curve = MotionCurve(*(pick(mask, a, b) for a, b in zip(yes.curve, no.curve, strict=True)))
    return FilterStep(pose, curve, pick(mask, yes.hidden, no.hidden))


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values)
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
