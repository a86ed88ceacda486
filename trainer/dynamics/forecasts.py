"""The forecaster's training: batches of estimates, losses and loop."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinestream.filtering.gated import STD_FLOOR
from kinestream.filtering.learned import DEFAULT_SMOOTHNESS
from kinestream.geometry.rotation import matrix_from_quat
from kinestream.latent.dynamics import (
    LatentDynamics,
    MotionCurve,
    Pose,
    Prediction,
    difference,
    move,
)
from kinestream.latent.flow import PoseFlow
from kinestream.latent.forecast import ForecasterConfig, Memory, MotionForecaster
from kinestream.trainer.dynamics.annealing import Annealing, minimise
from kinestream.trainer.dynamics.batches import MAX_LEAD_S, drifting, pose_of, simulated_batch, tensor_of
from kinestream.trainer.dynamics.clips import LatentClips
from kinestream.trainer.dynamics.recorded_estimates import RecordedEstimates
from kinestream.trainer.dynamics.rollout import (
    after_first,
    forward_joints,
    joined,
    pick,
    pose_at,
    unroll,
    weighted_nll,
)
from kinestream.trainer.run_state import TrainingRun

FIRST = 4
"""Forecasts of the first estimates do not count: there is no motion yet."""
CLEAN = 0.5
"""Share of the simulated sequences that are seen almost exactly: these teach motion, the others noise."""
TEMPO = 0.25
"""Motions are played up to a factor of exp(this) faster or slower."""
USUAL = 0.5
"""Share of the simulated sequences at the default smoothness; the others are at any."""
RECORDED = 1 / 3
"""Share of recorded sequences, where there are some."""
JOINT_UNIT_M = 0.02
"""What costs one nat: error of forecast joints."""


@dataclass(frozen=True)
class ForecastTraining(Annealing):
    """Everything that determines a training run."""

    forecaster: ForecasterConfig = ForecasterConfig()
    batch: int = 64
    points: int = 12  # forecasts of each sequence that are decoded to joints
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    ema: float = 0.998


@dataclass(frozen=True)
class Estimated:
    """What to learn or measure on: clips with what observes and filters them, and recorded estimates."""

    clips: LatentClips
    dynamics: LatentDynamics
    recorded: RecordedEstimates | None = None


@dataclass(frozen=True)
class ForecastBatch:
    """B sequences of T estimates, and the truth `lead_s` later.

    Shapes: times_s, lead_s, told, valid (B, T), poses (B, T, ...), variance (B, T, N). `told` marks estimates
    that the forecaster reads; between them somebody is out of sight. `valid` marks forecasts with a truth.
    """

    times_s: Tensor
    estimate: Pose
    variance: Tensor
    told: Tensor
    lead_s: Tensor
    ahead: Pose
    valid: Tensor


@dataclass(frozen=True)
class ForecastLosses:
    """Means over a batch of forecasts up to half a second ahead, differentiable."""

    nll: Tensor  # Student's t, per dimension
    mpjpe_m: Tensor  # joints around the pelvis
    camera_mpjpe_m: Tensor  # joints in the camera's frame
    held_mpjpe_m: Tensor  # joints around the pelvis where the last estimate is held
    total: Tensor  # what is minimised

    def numbers(self) -> dict[str, float]:
        """The values by name."""
        return {name: float(value.detach()) for name, value in vars(self).items()}


@torch.no_grad()
def simulated_estimates(
    source: Estimated, *, batch: int, steps: int, rng: np.random.Generator, tempo: float
) -> ForecastBatch:
    """What the learned filter says of simulated observations, some before drifting cameras."""
    data = simulated_batch(source.clips, batch=batch, steps=steps + 1, rng=rng, clean=CLEAN, tempo=tempo)
    data = drifting(data, rng)
    usual = torch.from_numpy(rng.random(batch) < USUAL)
    data = replace(data, smoothness=torch.where(usual, DEFAULT_SMOOTHNESS, data.smoothness))
    found = unroll(source.dynamics, data).estimate

    def later(values: Tensor) -> Tensor:
        return values[:, 1:]

    variance = found.variance * source.dynamics.std_scale[0].square()
    return ForecastBatch(
        times_s=later(data.times_s),
        estimate=Pose(*(part.unflatten(0, (batch, steps)) for part in found.pose)),
        variance=variance.unflatten(0, (batch, steps)),
        told=~later(data.missing),
        lead_s=later(data.lead_s),
        ahead=Pose(*map(later, data.ahead)),
        valid=later(data.ahead_valid),
    )


def recorded_estimates(
    recorded: RecordedEstimates, *, batch: int, steps: int, rng: np.random.Generator, tempo: float = 0.0
) -> ForecastBatch:
    """Random stretches of recorded estimates; what an estimate is off by on average of its stretch is true.

    They are played up to a factor of exp(``tempo``) faster or slower.

    Lasting errors of a few hundred people would be learned by heart otherwise, instead of motion.
    """
    lengths = (recorded.frame >= 0).sum(1)
    chosen = rng.choice(len(recorded), batch, p=lengths / lengths.sum())
    first = rng.integers(0, np.maximum(1, lengths[chosen] - steps // 2))
    last = recorded.frame.shape[1] - 1
    at = np.minimum(first[:, None] + np.arange(steps), last)
    row = chosen[:, None]
    told = (recorded.frame[row, at] >= 0) & (first[:, None] + np.arange(steps) <= last)
    frame = recorded.frame[row, np.minimum(at, lengths[row] - 1)]
    rate = recorded.fps * np.exp(rng.uniform(-tempo, tempo, (batch, 1)))
    lead = rng.integers(0, np.round(MAX_LEAD_S * rate).astype(np.int64) + 1, frame.shape)
    end = recorded.z.shape[1] - 1
    clip, later = recorded.clip[row], np.minimum(frame + lead, end)
    std = np.maximum(recorded.std[row, at], STD_FLOOR)
    estimate = pose_of(
        recorded.estimated_z[row, at],
        recorded.estimated_root_quat_wxyz[row, at],
        recorded.estimated_translation_m[row, at],
    )

    def true(at_frame: npt.NDArray[np.int64]) -> Pose:
        return _flat(
            pose_of(
                recorded.z[clip, at_frame],
                recorded.root_quat_wxyz[clip, at_frame],
                recorded.translation_m[clip, at_frame],
            )
        )

    known = tensor_of(told)[..., None].float()
    error = difference(_flat(estimate), true(frame)).unflatten(0, (batch, steps))
    lasting = (known * error).sum(1) / known.sum(1)
    ahead = move(true(later), lasting.repeat_interleave(steps, 0))
    return ForecastBatch(
        times_s=tensor_of(frame / rate),
        estimate=estimate,
        variance=tensor_of(std * std),
        told=tensor_of(told),
        lead_s=tensor_of((lead / rate).astype(np.float32)),
        ahead=Pose(*(part.unflatten(0, (batch, steps)) for part in ahead)),
        valid=tensor_of(told & (frame + lead <= end)),
    )


def draw(
    source: Estimated, *, batch: int, steps: int, rng: np.random.Generator, tempo: float = TEMPO
) -> list[ForecastBatch]:
    """Simulated sequences, and beside them recorded ones where there are some."""
    share = 0 if source.recorded is None else round(RECORDED * batch)
    parts = [simulated_estimates(source, batch=batch - share, steps=steps, rng=rng, tempo=tempo)]
    if source.recorded is not None:
        parts.append(recorded_estimates(source.recorded, batch=share, steps=steps, rng=rng, tempo=tempo))
    return parts


def foretell(forecaster: MotionForecaster, data: ForecastBatch) -> Prediction:
    """The forecast after each but the first estimate for `lead_s` later, flattened to (B * (T-1), ...)."""
    pose, variance = pose_at(data.estimate, 0), data.variance[:, 0]
    batch, last = len(variance), data.times_s[:, 0]
    still = variance.new_zeros(batch, len(forecaster.time_constants), forecaster.config.state)
    growth = forecaster.growth.expand(batch, 2, -1)
    curve = MotionCurve(still, torch.cat([variance[:, None], growth], 1))
    memory = forecaster.begin(batch)
    found: list[tuple[Pose, MotionCurve, Tensor]] = []
    for k in range(1, data.times_s.shape[1]):
        now, told = data.times_s[:, k], data.told[:, k]
        new = pose_at(data.estimate, k)
        answer, after = forecaster.read(pose, new, data.variance[:, k], (now - last).float(), memory)
        pose = Pose(*(pick(told, a, b) for a, b in zip(new, pose, strict=True)))
        curve = MotionCurve(*(pick(told, a, b) for a, b in zip(answer, curve, strict=True)))
        memory = Memory(*(pick(told, a, b) for a, b in zip(after, memory, strict=True)))
        last = torch.where(told, now, last)
        found.append((pose, curve, (now - last).float() + data.lead_s[:, k]))
    poses, curves, leads = zip(*found, strict=True)
    return forecaster.predict(
        joined(Pose, list(poses)), joined(MotionCurve, list(curves)), torch.stack(leads, 1).flatten()
    )


def forecast_losses(
    forecaster: MotionForecaster,
    flow: PoseFlow,
    drawn: Sequence[ForecastBatch],
    rng: np.random.Generator,
    *,
    points: int,
) -> ForecastLosses:
    """Compare the forecasts with the truth."""
    nll, around, in_camera, held = [], [], [], []
    for data in drawn:
        batch, frames = len(data.times_s), data.times_s.shape[1] - 1
        ahead = foretell(forecaster, data)
        future, last = after_first(data.ahead), after_first(data.estimate)
        begun = torch.arange(frames).expand(batch, frames).flatten() >= FIRST
        valid = data.valid[:, 1:].flatten() & begun
        nll.append(weighted_nll(difference(future, ahead.pose), ahead.variance)[valid])
        chosen = rng.integers(FIRST, frames, (batch, points)) + np.arange(batch)[:, None] * frames
        rows = torch.from_numpy(chosen.flatten())
        rows = rows[valid[rows]]
        with torch.no_grad():
            wanted, still = (_joints(flow, pose, rows) for pose in (future, last))
        gap = _joints(flow, ahead.pose, rows) - wanted
        around.append(gap.norm(dim=-1).mean(1))
        place = (ahead.pose.translation_m - future.translation_m)[rows, None]
        in_camera.append((gap + place).norm(dim=-1).mean(1))
        held.append((still - wanted).norm(dim=-1).mean(1))
    means = [torch.cat(parts).mean() for parts in (nll, around, in_camera, held)]
    total = means[0] + (means[1] + 0.25 * means[2]) / JOINT_UNIT_M
    return ForecastLosses(*means, total)


def new_run(
    source: Estimated, config: ForecastTraining, folder: Path, *, init: MotionForecaster | None = None
) -> TrainingRun:
    """The training of a forecaster, continued where the folder holds a checkpoint.

    It begins with random weights, or with those of ``init``, a forecaster of the same size.
    """
    torch.manual_seed(config.seed)
    forecaster = MotionForecaster(config.forecaster, flow_id=source.dynamics.flow_id)
    if init is not None:
        forecaster.load_state_dict(init.state_dict())
    optimizer = torch.optim.AdamW(
        forecaster.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    recorded = 0 if source.recorded is None else len(source.recorded)
    settings = asdict(config) | {"flow": forecaster.flow_id, "recorded": recorded}
    run = TrainingRun(folder, forecaster, optimizer, average_decay=config.ema, settings=settings)
    run.resume()
    return run


def train(
    run: TrainingRun,
    config: ForecastTraining,
    flow: PoseFlow,
    source: Estimated,
    validation: Estimated,
    **loop: Any,
) -> MotionForecaster:
    """Train a `new_run` to the configured steps; returns the averaged forecaster."""

    def losses(forecaster: MotionForecaster, rng: np.random.Generator) -> ForecastLosses:
        drawn = draw(source, batch=config.batch, steps=config.frames, rng=rng)
        return forecast_losses(forecaster, flow, drawn, rng, points=config.points)

    def figures(forecaster: MotionForecaster) -> dict[str, float]:
        return evaluate(forecaster, flow, validation, config)

    return minimise(run, config, losses, figures, clip_norm=1.0, **loop)


@torch.no_grad()
def evaluate(
    forecaster: MotionForecaster,
    flow: PoseFlow,
    validation: Estimated,
    config: ForecastTraining,
    *,
    batches: int = 3,
) -> dict[str, float]:
    """Mean losses on fixed batches of simulated sequences, and of recorded ones as ``recorded_...``."""
    rows = []
    for index in range(batches):
        rng = np.random.default_rng((99, index))
        parts = draw(validation, batch=2 * config.batch, steps=config.frames, rng=rng, tempo=0.0)
        row: dict[str, float] = {}
        for prefix, part in zip(("", "recorded_"), parts, strict=False):
            found = forecast_losses(forecaster, flow, [part], rng, points=config.points).numbers()
            row |= {prefix + name: value for name, value in found.items()}
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _joints(flow: PoseFlow, pose: Pose, rows: Tensor) -> Tensor:
    return forward_joints(flow.decode(pose.z[rows]), matrix_from_quat(pose.root_quat_wxyz[rows]))


def _flat(poses: Pose) -> Pose:
    return Pose(*(part.flatten(0, 1) for part in poses))
