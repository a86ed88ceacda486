"""A noise model out of residuals: how far observations are from the truth, and what they say of it.

Errors are in the error state of `tracker.latent.filtering.root`: latent (D), root rotation vector (3), camera
translation (3). The estimates invert `trainer.data.latent_noise.observe`, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trainer.data.latent_noise import NoiseModel

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

SWAP_RAD: Final = np.pi / 2
"""A root turned further than this is taken for a confusion of front and back."""
OUTLIER: Final = 2.0
"""A frame whose normalised error is so many times the median frame's is an outlier."""
LONGEST_LAG_S: Final = 0.6
_TIME_CONSTANTS_S: Final = np.geomspace(0.03, 5.0, 120)
_MOST_GROSS: Final = 0.3


@dataclass(frozen=True)
class Residuals:
    """Frames of one clip at an even rate.

    Attributes:
        period_s: time between frames.
        error: (T, D + 6) of the observation against the truth.
        std: (T, D + 6) as reported.
        missing: (T,) frames without an observation; their errors are not looked at.

    """

    period_s: float
    error: Floats
    std: Floats
    missing: Flags


@dataclass(frozen=True)
class Measured:
    """The noise model, and details by group of dimensions that it has no room for."""

    noise: NoiseModel
    groups: dict[str, dict[str, float]]

    def report(self) -> dict[str, Any]:
        """Both, for JSON; `NoiseModel.load` reads it."""
        return {
            "noise": _rounded(vars(self.noise)),
            "groups": {k: _rounded(v) for k, v in self.groups.items()},
        }


def measure(clips: Sequence[Residuals]) -> Measured:
    """Estimate a noise model; the clips need one rate.

    Raises ``ValueError`` where no frame was observed or the rates differ.
    """
    periods = {round(clip.period_s, 6) for clip in clips}
    if len(periods) != 1:
        raise ValueError(f"expected clips of one rate, found periods {sorted(periods)} s")
    period_s = clips[0].period_s
    seen = [~clip.missing for clip in clips]
    if not any(flags.any() for flags in seen):
        raise ValueError("no frame of any clip was observed: nothing to measure")
    swapped = [
        flags & (np.linalg.norm(c.error[:, -6:-3], axis=1) > SWAP_RAD) for c, flags in _with(clips, seen)
    ]
    plain = [flags & ~swaps for flags, swaps in zip(seen, swapped, strict=True)]
    error = np.concatenate([c.error[flags] for c, flags in _with(clips, plain)]).astype(np.float64)
    if not len(error):
        raise ValueError("every observation faces the wrong way: is the truth in the camera frame?")
    scale = np.maximum(np.median(np.abs(error), axis=0), 1e-9)
    sizes = [np.sqrt(np.square(c.error / scale).mean(1)) for c in clips]
    typical = float(np.median(np.concatenate([s[flags] for s, flags in zip(sizes, plain, strict=True)])))
    outliers = [f & (s > OUTLIER * typical) for s, f in zip(sizes, plain, strict=True)]
    good = [f & ~o for f, o in zip(plain, outliers, strict=True)]

    error = np.concatenate([c.error[flags] for c, flags in _with(clips, good)]).astype(np.float64)
    std = np.concatenate([c.std[flags] for c, flags in _with(clips, good)]).astype(np.float64)
    rms = np.sqrt(np.square(error).mean(0))
    report = np.log(np.sqrt(np.square(std).mean(0)) / rms)
    groups = _groups(error.shape[1])
    log_std = np.concatenate([_centred(np.log(std[:, part])).ravel() for part in groups.values()])
    report_error = float(np.sqrt(np.square(report).mean()))
    spread = float(np.sqrt(max(log_std.var() - _within(report, groups), 0.0)))
    correlated, constant_s = _correlation(clips, good, rms, period_s)
    frames = sum(flags.sum() for flags in seen)
    shrink = np.exp(-0.5 * spread**2)
    lateral, depth = (_rms(error[:, part]) for part in (slice(-3, -1), slice(-1, None)))
    noise = NoiseModel(
        z_std=_rms(error[:, :-6]) * shrink,
        root_std_rad=_rms(error[:, -6:-3]) * shrink,
        translation_std_m=lateral * shrink,
        depth_ratio=depth / lateral,
        correlated_share=correlated,
        correlation_s=constant_s,
        spread=spread,
        report_error=report_error,
        outlier_rate=min(sum(o.sum() for o in outliers) / frames, _MOST_GROSS),
        swap_rate=min(sum(s.sum() for s in swapped) / frames, _MOST_GROSS),
        dropout_rate=min(float(np.mean(np.concatenate([c.missing for c in clips]))), _MOST_GROSS),
        burst_s=_burst_s([*outliers, *swapped, *(c.missing for c in clips)], period_s),
    )
    details = {}
    for name, part in groups.items():
        share, constant = _correlation(clips, good, rms, period_s, part)
        means = [c.error[flags][:, part].mean(0) for c, flags in _with(clips, good) if flags.any()]
        details[name] = {
            "rms": _rms(error[:, part]),
            "reported_over_actual": float(
                np.sqrt(np.square(std[:, part]).mean() / np.square(error[:, part]).mean())
            ),
            "coverage_90": float((np.abs(error[:, part]) < 1.6449 * std[:, part]).mean()),
            "constant_share": float(np.square(np.stack(means)).mean() / np.square(error[:, part]).mean()),
            "correlated_share": share,
            "correlation_s": constant,
        }
    return Measured(noise, details)


def _with(clips: Sequence[Residuals], flags: Sequence[Flags]) -> list[tuple[Residuals, Flags]]:
    return list(zip(clips, flags, strict=True))


def _groups(size: int) -> dict[str, slice]:
    return {
        "latent": slice(0, size - 6),
        "root": slice(size - 6, size - 3),
        "translation": slice(size - 3, size),
    }


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _centred(values: Floats) -> Floats:
    """Without their mean: one for all latent dimensions, one for each axis of root and translation."""
    return np.asarray(values - (values.mean() if values.shape[1] > 3 else values.mean(0)))


def _within(report: Floats, groups: dict[str, slice]) -> float:
    """Variance of the report's error that `_centred` has left in."""
    return float(np.concatenate([_centred(report[None, part]).ravel() for part in groups.values()]).var())


def _correlation(
    clips: Sequence[Residuals], good: Sequence[Flags], rms: Floats, period_s: float, part: slice = slice(None)
) -> tuple[float, float]:
    """Share of the variance that is correlated, and its time constant, by least squares over the lags."""
    lags = np.arange(1, max(2, round(LONGEST_LAG_S / period_s) + 1))
    found = []
    for lag in lags:
        total, count = 0.0, 0
        for clip, flags in _with(clips, good):
            both = flags[lag:] & flags[:-lag]
            now, later = (clip.error[:-lag] / rms)[both][:, part], (clip.error[lag:] / rms)[both][:, part]
            total, count = total + float((now * later).sum()), count + now.size
        found.append(total / count if count else np.nan)
    correlation = np.array(found)
    usable = np.isfinite(correlation)
    if not usable.any():
        return 0.0, float(NoiseModel().correlation_s)
    decay = np.exp(-lags[usable] * period_s / _TIME_CONSTANTS_S[:, None])
    share = np.clip(decay @ correlation[usable] / np.square(decay).sum(1), 0.0, 0.99)
    best = int(np.square(share[:, None] * decay - correlation[usable]).sum(1).argmin())
    return float(share[best]), float(_TIME_CONSTANTS_S[best])


def _burst_s(flags: Sequence[Flags], period_s: float) -> float:
    """Length of bursts whose chain has this mean run; the default where there is none."""
    runs, frames = 0, 0
    for on in flags:
        runs += int(np.count_nonzero(np.diff(np.concatenate([[False], on]).astype(int)) == 1))
        frames += int(on.sum())
    if not runs:
        return float(NoiseModel().burst_s)
    leave = min(runs / frames, 0.98)
    return -period_s / float(np.log(1 - leave))


def _rounded(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(f"{float(value):.4g}") for name, value in values.items()}
