"""Simulated observations: what a per-frame regressor would say of a true trajectory, and when.

Noise is per dimension, with a standard deviation that wanders in time and is reported with an error; a share
of its variance is correlated in time. On top come outliers (bursts of unreported errors), left-right swaps
(the mirrored pose facing the other way, as a regressor errs that confuses front and back) and dropouts.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kinestream.geometry.quaternion import multiply
from kinestream.trainer.dynamics.clips import Floats, Times, Trajectory, unit

WANDER_S = 0.6
"""Time constant with which the standard deviations wander."""


@dataclass(frozen=True)
class NoiseModel:
    """Parameters of the simulation; each is a number, or an array (B,) for a batch of sequences."""

    z_std: float | Floats = 0.25  # typical standard deviation of a latent dimension
    root_std_rad: float | Floats = 0.06  # of each component of the root's rotation vector
    translation_std_m: float | Floats = 0.015  # of the translation across the view
    depth_ratio: float | Floats = 4.0  # how many times as much it is along the view
    correlated_share: float | Floats = 0.5  # share of the variance that is correlated in time
    correlation_s: float | Floats = 0.2  # its time constant
    spread: float | Floats = 0.35  # how much deviations differ between dimensions and over time (log-std)
    report_error: float | Floats = 0.1  # of the reported deviation (log-std, constant over a sequence)
    outlier_rate: float | Floats = 0.01  # share of frames in bursts of outliers
    swap_rate: float | Floats = 0.005  # share of frames in left-right swaps
    dropout_rate: float | Floats = 0.02  # share of frames missed
    burst_s: float | Floats = 0.08  # mean length of outliers, swaps and dropouts

    def scaled(self, factor: float) -> "NoiseModel":
        """The same noise with all standard deviations times a factor."""
        return replace(
            self,
            z_std=self.z_std * factor,
            root_std_rad=self.root_std_rad * factor,
            translation_std_m=self.translation_std_m * factor,
        )


WHITE = NoiseModel(correlated_share=0.0, outlier_rate=0.0, swap_rate=0.0, dropout_rate=0.0)
CORRELATED = replace(WHITE, correlated_share=0.8, correlation_s=0.25)
OUTLIERS = replace(WHITE, outlier_rate=0.04)
SWAPS = replace(WHITE, swap_rate=0.03)
DROPOUTS = replace(WHITE, dropout_rate=0.15, burst_s=0.15)
REALISTIC = NoiseModel()
PRESETS = {
    "realistic": REALISTIC,
    "white": WHITE,
    "correlated": CORRELATED,
    "outliers": OUTLIERS,
    "swaps": SWAPS,
    "dropouts": DROPOUTS,
}


@dataclass(frozen=True)
class NoisyObservations:
    """Observations of B sequences: z (B, T, D), root (B, T, 4), translation (B, T, 3), std (B, T, D + 6).

    `std` is what the regressor reports. `missing` (B, T) marks dropouts, `gross` (B, T) outliers and swaps.
    """

    z: Floats
    root_quat_wxyz: Floats
    translation_m: Floats
    std: Floats
    missing: npt.NDArray[np.bool_]
    gross: npt.NDArray[np.bool_]


def observe(
    truth: Trajectory, times_s: Times, noise: NoiseModel, rng: np.random.Generator
) -> NoisyObservations:
    """Simulate observations of trajectories (B, T, ...) at times (B, T)."""
    batch, steps, latent = truth.z.shape
    size = latent + 6

    def column(value: float | Floats) -> Floats:
        return np.broadcast_to(np.asarray(value, np.float32), (batch,))[:, None]

    lateral = column(noise.translation_std_m)
    base = np.concatenate(
        [
            np.repeat(column(noise.z_std), latent, 1),
            np.repeat(column(noise.root_std_rad), 3, 1),
            lateral,
            lateral,
            column(noise.depth_ratio) * lateral,
        ],
        1,
    )[:, None]
    wander = _wandering(rng, times_s, size, np.broadcast_to(np.float32(WANDER_S), (batch, 1)))
    std = base * np.exp(column(noise.spread)[..., None] * (wander - 0.5 * column(noise.spread)[..., None]))
    share = column(noise.correlated_share)[..., None]
    slow = _wandering(rng, times_s, size, column(noise.correlation_s))
    white = rng.standard_normal((batch, steps, size), dtype=np.float32)
    error = std * (np.sqrt(share) * slow + np.sqrt(1 - share) * white)

    outlier = bursts(rng, times_s, column(noise.outlier_rate), column(noise.burst_s))
    direction = rng.standard_normal((batch, 1, size), dtype=np.float32)
    error = error + outlier[..., None] * base * direction * rng.uniform(2.0, 8.0, (batch, 1, 1))
    swap = bursts(rng, times_s, column(noise.swap_rate), column(noise.burst_s))
    about = np.array([0.0, 0.0, 1.0, 0.0], np.float32)  # half a turn about the body's own vertical
    root = np.where(
        swap[..., None],
        multiply(truth.root_quat_wxyz, np.broadcast_to(about, truth.root_quat_wxyz.shape)),
        truth.root_quat_wxyz,
    )
    z = np.where(swap[..., None], truth.swapped_z, truth.z)
    missing = bursts(rng, times_s, column(noise.dropout_rate), column(noise.burst_s))
    report = np.exp(column(noise.report_error)[..., None] * rng.standard_normal((batch, 1, size)))
    return NoisyObservations(
        (z + error[..., :latent]).astype(np.float32),
        unit(multiply(root, _quat_from_rotvec(error[..., latent : latent + 3]))).astype(np.float32),
        (truth.translation_m + error[..., latent + 3 :]).astype(np.float32),
        (std * report).astype(np.float32),
        missing,
        outlier | swap,
    )


def frame_times(
    count: int, fps: npt.NDArray[np.float64], jitter: npt.NDArray[np.float64], rng: np.random.Generator
) -> Times:
    """Times (B, count) from 0 at rates (B,) in Hz, each step off by a share `jitter` (B,) of the period."""
    batch = len(fps)
    steps = 1 + jitter[:, None] * rng.uniform(-1, 1, (batch, count - 1))
    times = np.cumsum(steps, axis=1) / fps[:, None]
    return np.concatenate([np.zeros((batch, 1)), times], axis=1)


def _wandering(rng: np.random.Generator, times_s: Times, size: int, constant_s: Floats) -> Floats:
    """Ornstein-Uhlenbeck paths (B, T, size) of unit variance at uneven times."""
    batch, steps = times_s.shape
    keep = np.exp(-np.diff(times_s, axis=1) / constant_s).astype(np.float32)[..., None]
    fresh = np.sqrt(1 - keep * keep)
    paths = rng.standard_normal((batch, steps, size), dtype=np.float32)
    for step in range(1, steps):
        paths[:, step] = keep[:, step - 1] * paths[:, step - 1] + fresh[:, step - 1] * paths[:, step]
    return paths


def bursts(rng: np.random.Generator, times_s: Times, rate: Floats, length_s: Floats) -> npt.NDArray[np.bool_]:
    """Two-state Markov chains (B, T) that are on for a share `rate` of the time, `length_s` on average."""
    batch, steps = times_s.shape
    on = np.zeros((batch, steps), bool)
    draws = rng.random((batch, steps))
    stay = np.exp(-np.diff(times_s, axis=1) / length_s)
    enter = (1 - stay) * rate / (1 - rate)
    for step in range(1, steps):
        threshold = np.where(on[:, step - 1], stay[:, step - 1], enter[:, step - 1])
        on[:, step] = draws[:, step] < threshold
    return on


def _quat_from_rotvec(rotvec: Floats) -> Floats:
    half = 0.5 * np.linalg.norm(rotvec, axis=-1, keepdims=True)
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * rotvec], -1).astype(np.float32)
