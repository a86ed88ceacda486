"""Batches of observed motion that the learned filter is trained on: simulated, and recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from kinestream.geometry.quaternion import multiply
from kinestream.latent.dynamics import Pose, difference, move
from kinestream.trainer.dynamics.clips import Floats, LatentClips, Times, Trajectory, random_cameras
from kinestream.trainer.dynamics.noise import NoiseModel, bursts, frame_times, observe
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

MAX_LEAD_S = 0.5
SLOWEST_HZ, FASTEST_HZ = 12.0, 120.0
SLOWEST_RECORDED_HZ = 8.0
CLEAN = 0.12
"""Share of the simulated sequences that are seen almost exactly."""
MOST_DROPOUTS = 0.25
BURST_S = (0.03, 0.35)
"""Shortest and longest mean of a burst of dropouts."""
DRIFT_M_S = 0.7
"""Standard deviation of a drifting camera's speed along each axis."""
LATENT_SHIFT = 0.5
MISREPORTED = 0.25
"""Standard deviation of the logarithm of a factor on recorded standard deviations."""
WEAKEST = 0.5
"""Recorded errors are scaled down to this at most, so that a better regressor is no stranger."""


@dataclass(frozen=True)
class Batch:
    """B sequences of T frames: what is seen, and the truth then and `lead_s` later.

    Shapes: times_s, lead_s, missing, valid, ahead_valid (B, T); smoothness (B,); poses (B, T, ...);
    std (B, T, D + 6); recorded (B,) one where observations are real, zero where they are simulated;
    drift_m_s (B, 3) at which everything moves past the camera.
    """

    times_s: Tensor
    observed: Pose
    std: Tensor
    missing: Tensor
    truth: Pose
    valid: Tensor
    lead_s: Tensor
    ahead: Pose
    ahead_valid: Tensor
    smoothness: Tensor
    recorded: Tensor
    drift_m_s: Tensor

    @classmethod
    def joined(cls, parts: "Sequence[Batch]") -> "Batch":
        """One batch of the sequences of several, which are of one length."""

        def join(values: list[Tensor] | list[Pose]) -> Tensor | Pose:
            if isinstance(values[0], Pose):
                return Pose(*(torch.cat(tensors) for tensors in zip(*values, strict=True)))
            return torch.cat([value for value in values if isinstance(value, Tensor)])

        names = [entry.name for entry in fields(cls)]
        return cls(**{name: join([getattr(part, name) for part in parts]) for name in names})


def draw_batch(
    clips: LatentClips,
    *,
    batch: int,
    steps: int,
    rng: np.random.Generator,
    recorded: RecordedObservations | None = None,
) -> Batch:
    """Simulated sequences, or half of them recorded where there is a recording; some cameras drift."""
    half = 0 if recorded is None else batch // 2
    parts = [simulated_batch(clips, batch=batch - half, steps=steps, rng=rng)]
    if recorded is not None:
        parts.append(recorded_batch(recorded, batch=half, steps=steps, rng=rng))
    return drifting(Batch.joined(parts), rng)


def drifting(data: Batch, rng: np.random.Generator) -> Batch:
    """The same before cameras of which half drift evenly: people also move without moving their legs."""
    batch = len(data.times_s)
    moves = rng.random((batch, 1, 1)) < 0.5
    speed_m_s = tensor_of((DRIFT_M_S * moves * rng.standard_normal((batch, 1, 3))).astype(np.float32))

    def moved(pose: Pose, after_s: Tensor) -> Pose:
        return pose._replace(translation_m=pose.translation_m + speed_m_s * after_s[..., None])

    now = data.times_s.float()
    return replace(
        data,
        observed=moved(data.observed, now),
        truth=moved(data.truth, now),
        ahead=moved(data.ahead, now + data.lead_s),
        drift_m_s=speed_m_s[:, 0],
    )


def simulated_batch(
    clips: LatentClips,
    *,
    batch: int,
    steps: int,
    rng: np.random.Generator,
    clean: float = CLEAN,
    tempo: float = 0.0,
) -> Batch:
    """Random clips (half of them mirrored), cameras, rates of 12 to 120 Hz, noise and drops.

    A share ``clean`` of the sequences is seen almost exactly. Motions are played up to a factor of
    exp(``tempo``) faster or slower.
    """
    share = clips.durations_s / clips.durations_s.sum()
    chosen = rng.choice(len(clips), batch, p=share)
    fps = np.exp(rng.uniform(np.log(SLOWEST_HZ), np.log(FASTEST_HZ), batch))
    times = frame_times(steps, fps, rng.uniform(0, 0.5, batch), rng)
    pace = np.exp(rng.uniform(-tempo, tempo, batch)) if tempo else np.ones(batch)
    duration = clips.durations_s[chosen] / pace
    start = rng.uniform(0, np.maximum(duration - times[:, -1], 1e-3))
    mirrored = rng.random(batch) < 0.5
    lead = rng.uniform(0, MAX_LEAD_S, times.shape)

    def at(after_s: Times) -> Trajectory:
        return clips.at(chosen, (start[:, None] + after_s) * pace[:, None], mirrored=mirrored)

    world = at(times)
    cameras = random_cameras(world.translation_m[:, 0], rng)
    truth, ahead = cameras.apply(world), cameras.apply(at(times + lead))
    seen = observe(truth, times, random_noise(batch, rng, clean=clean), rng)
    missing = seen.missing | (seen.gross & (rng.random(times.shape) < 0.8))  # most of them would be gated
    missing[:, 0] = False
    end = (duration - start)[:, None]

    def pose(states: Trajectory) -> Pose:
        return pose_of(states.z, states.root_quat_wxyz, states.translation_m)

    return Batch(
        times_s=tensor_of(times),
        observed=pose_of(seen.z, seen.root_quat_wxyz, seen.translation_m),
        std=tensor_of(seen.std),
        missing=tensor_of(missing),
        truth=pose(truth),
        valid=tensor_of(times <= end),
        lead_s=tensor_of(lead.astype(np.float32)),
        ahead=pose(ahead),
        ahead_valid=tensor_of(times + lead <= end),
        smoothness=tensor_of(rng.uniform(-1, 1, batch).astype(np.float32)),
        recorded=torch.zeros(batch),
        drift_m_s=torch.zeros(batch, 3),
    )


def random_noise(batch: int, rng: np.random.Generator, *, clean: float = CLEAN) -> NoiseModel:
    """Noise of every kind and strength for each of B sequences; almost none in a share ``clean``."""

    def between(low: float, high: float) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), batch)).astype(np.float32)

    def share(high: float, chance: float) -> np.ndarray:
        return (rng.uniform(0, high, batch) * (rng.random(batch) < chance)).astype(np.float32)

    strength = np.where(rng.random(batch) < clean, 0.03, 1.0).astype(np.float32)
    return NoiseModel(
        z_std=strength * between(0.1, 0.8),
        root_std_rad=strength * between(0.02, 0.2),
        translation_std_m=strength * between(0.004, 0.04),
        correlated_share=share(0.9, 0.8),
        correlation_s=between(0.05, 0.5),
        spread=rng.uniform(0, 0.5, batch).astype(np.float32),
        report_error=rng.uniform(0, 0.2, batch).astype(np.float32),
        outlier_rate=share(0.05, 0.6),
        swap_rate=share(0.03, 0.5),
        dropout_rate=share(MOST_DROPOUTS, 0.7),
        burst_s=between(*BURST_S),
    )


def recorded_batch(
    recorded: RecordedObservations, *, batch: int, steps: int, rng: np.random.Generator
) -> Batch:
    """Random stretches of recorded clips, thinned to uneven rates from the recording's down to 8 Hz.

    Half of the sequences keep their errors, in the others they are smaller by a random factor. Truth and
    observations are moved alike to elsewhere in the latent space and turned about the vertical, errors of the
    translation have either sign, and the latent's standard deviations are another clip's: the lasting errors
    of a clip cannot be learned by heart then, only how observations move.
    """
    chosen = rng.integers(0, len(recorded), batch)
    longest = max(1.0, recorded.fps / SLOWEST_RECORDED_HZ)
    stride = np.exp(rng.uniform(0, np.log(longest), batch))[:, None]
    uneven = stride * (1 + rng.uniform(0, 0.5, (batch, 1)) * rng.uniform(-1, 1, (batch, steps - 1)))
    passed = np.cumsum(np.maximum(1, np.round(uneven)), axis=1).astype(np.int64)
    start = rng.integers(0, np.maximum(1, recorded.frames - passed[:, -1]))
    frame = start[:, None] + np.concatenate([np.zeros((batch, 1), np.int64), passed], axis=1)
    lead = rng.integers(0, round(MAX_LEAD_S * recorded.fps) + 1, frame.shape)
    last = recorded.frames - 1
    clip, now = chosen[:, None], np.minimum(frame, last)
    later = np.minimum(frame + lead, last)
    times = (frame - frame[:, :1]) / recorded.fps

    rate = rng.uniform(0, MOST_DROPOUTS, (batch, 1)) * (rng.random((batch, 1)) < 0.7)
    length = np.exp(rng.uniform(np.log(BURST_S[0]), np.log(BURST_S[1]), (batch, 1)))
    missing = recorded.missing[clip, now] | bursts(rng, times, rate, length)
    missing[:, 0] = False
    weaker = np.where(rng.random(batch) < 0.5, 1.0, rng.uniform(WEAKEST, 1.0, batch)).astype(np.float32)
    share = np.repeat(weaker[:, None], recorded.std.shape[2], 1)
    share[:, -3:] *= rng.choice(np.array([-1.0, 1.0], np.float32), (batch, 3))
    std = recorded.std[clip, now].copy()
    latent = recorded.z.shape[2]
    std[..., :latent] = recorded.std[rng.permutation(chosen)[:, None], now][..., :latent]
    std *= np.exp(MISREPORTED * rng.standard_normal((batch, 1, 1), dtype=np.float32))
    moved = _Elsewhere.draw(batch, recorded.z.shape[2], rng)
    truth, ahead = (
        moved.pose(recorded.z[clip, at], recorded.root_quat_wxyz[clip, at], recorded.translation_m[clip, at])
        for at in (now, later)
    )
    seen = moved.pose(
        recorded.seen_z[clip, now],
        recorded.seen_root_quat_wxyz[clip, now],
        recorded.seen_translation_m[clip, now],
    )
    return Batch(
        times_s=tensor_of(times),
        observed=_between(truth, seen, tensor_of(share)),
        std=tensor_of(std * weaker[:, None, None]),
        missing=tensor_of(missing),
        truth=truth,
        valid=tensor_of(frame <= last),
        lead_s=tensor_of((lead / recorded.fps).astype(np.float32)),
        ahead=ahead,
        ahead_valid=tensor_of(frame + lead <= last),
        smoothness=tensor_of(rng.uniform(-1, 1, batch).astype(np.float32)),
        recorded=torch.ones(batch),
        drift_m_s=torch.zeros(batch, 3),
    )


@dataclass(frozen=True)
class _Elsewhere:
    """For each of B sequences another place in the latent space, and a turn about the camera's vertical."""

    sign: Floats
    shift: Floats
    turn_wxyz: Floats

    @classmethod
    def draw(cls, batch: int, latent: int, rng: np.random.Generator) -> "_Elsewhere":
        half = rng.uniform(-np.pi, np.pi, (batch, 1)) / 2
        zero = np.zeros_like(half)
        return cls(
            sign=rng.choice(np.array([-1.0, 1.0], np.float32), (batch, 1, 1)),
            shift=LATENT_SHIFT * rng.standard_normal((batch, 1, latent), dtype=np.float32),
            turn_wxyz=np.stack([np.cos(half), zero, np.sin(half), zero], -1).astype(np.float32),
        )

    def pose(self, z: Floats, root_quat_wxyz: Floats, translation_m: Floats) -> Pose:
        turn = np.broadcast_to(self.turn_wxyz, root_quat_wxyz.shape)
        return pose_of(self.sign * z + self.shift, multiply(turn, root_quat_wxyz), translation_m)


def _between(truth: Pose, seen: Pose, share: Tensor) -> Pose:
    """States (B, T, ...) shares (B, D + 6) of the way from the truth to what was seen."""
    batch, steps = truth.z.shape[:2]
    origin, target = (Pose(*(part.flatten(0, 1) for part in pose)) for pose in (truth, seen))
    step = share.repeat_interleave(steps, 0) * difference(target, origin)
    return Pose(*(part.unflatten(0, (batch, steps)) for part in move(origin, step)))


def tensor_of(values: np.ndarray) -> Tensor:
    """The same numbers as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(values))


def pose_of(z: np.ndarray, root_quat_wxyz: np.ndarray, translation_m: np.ndarray) -> Pose:
    """A pose of these arrays, in single precision."""
    return Pose(*(tensor_of(part.astype(np.float32)) for part in (z, root_quat_wxyz, translation_m)))
