"""How good a stream of poses is: error, smoothness and lag, against the true motion at the same times.

Joints are (T, J, 3) in metres at times (T,) in seconds, which need not be even.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kinestream.trainer.metrics import INTERVAL_STDS

Floats = npt.NDArray[np.floating]

LAG_GRID_S = 0.005
LONGEST_LAG_S = 0.4
HIGH_HZ = 10.0


def mpjpe_mm(estimate_m: Floats, truth_m: Floats) -> float:
    """Mean distance of joints, millimetres."""
    return float(1e3 * np.linalg.norm(estimate_m - truth_m, axis=-1).mean())


def second_difference(times_s: Floats, values: Floats) -> Floats:
    """Acceleration (T-2, ...) at uneven times, by divided differences."""
    shape = (-1, *(1,) * (values.ndim - 1))
    step = np.diff(times_s).reshape(shape)
    slope = np.diff(values, axis=0) / step
    return 2 * np.diff(slope, axis=0) / (step[1:] + step[:-1])


def acceleration_error(times_s: Floats, estimate_m: Floats, truth_m: Floats) -> float:
    """Mean length of the error of the joints' acceleration, m/s^2."""
    error = second_difference(times_s, estimate_m - truth_m)
    return float(np.linalg.norm(error, axis=-1).mean())


def jitter(times_s: Floats, estimate_m: Floats) -> float:
    """Mean length of the joints' jerk, 100 m/s^3 (the figure of PIP and TransPose)."""
    acceleration = second_difference(times_s, estimate_m)
    middle = times_s[1:-1]
    jerk = np.diff(acceleration, axis=0) / np.diff(middle)[:, None, None]
    return float(np.linalg.norm(jerk, axis=-1).mean() / 100)


def high_frequency_mm(times_s: Floats, estimate_m: Floats, *, above_hz: float = HIGH_HZ) -> float:
    """Root mean square of what moves faster than ``above_hz``, millimetres per coordinate.

    On an even grid of the same mean rate, Hann window; NaN where that rate cannot show such frequencies.
    """
    count = len(times_s)
    rate = (count - 1) / float(times_s[-1] - times_s[0])
    if rate < 2.2 * above_hz or count < 16:
        return float("nan")
    even = resampled(times_s, estimate_m, np.linspace(times_s[0], times_s[-1], count)).reshape(count, -1)
    ramp = np.linspace(0.0, 1.0, count)[:, None]
    window = np.hanning(count)[:, None]
    spectrum = np.fft.rfft((even - even[0] - ramp * (even[-1] - even[0])) * window, axis=0)
    loud = np.fft.rfftfreq(count, 1 / rate) >= above_hz
    power = 2 * np.square(np.abs(spectrum[loud])).sum(0) / count / np.square(window).sum()
    return float(1e3 * np.sqrt(power.mean()))


def resampled(times_s: Floats, values: Floats, at_s: Floats) -> Floats:
    """Values (T, ...) at other times, linearly."""
    index = np.clip(np.searchsorted(times_s, at_s, side="right") - 1, 0, len(times_s) - 2)
    share = (at_s - times_s[index]) / (times_s[index + 1] - times_s[index])
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    return np.asarray(values[index] + share * (values[index + 1] - values[index]))


def lag_ms(streams: Sequence[tuple[Floats, Floats, Floats]]) -> float:
    """Delay of estimates behind the truth by cross-correlation of joint positions, milliseconds.

    Args:
        streams: times, estimate and truth of each; ones shorter than 1.6 s are left out. The delay is where
            the normalised correlation, summed over streams and joints, peaks between -0.4 and 0.4 s.

    """
    reach = round(LONGEST_LAG_S / LAG_GRID_S)
    total = np.zeros(2 * reach + 1)
    for times_s, estimate_m, truth_m in streams:
        grid = np.arange(times_s[0], times_s[-1], LAG_GRID_S)
        if len(grid) < 4 * reach:
            continue
        seen, true = (resampled(times_s, part, grid).reshape(len(grid), -1) for part in (estimate_m, truth_m))
        total += len(grid) * _correlation(seen, true, reach)
    best = int(np.argmax(total))
    if best in (0, 2 * reach) or total[best] <= 0:
        return float("nan")
    left, top, right = total[best - 1 : best + 2]
    bend = left - 2 * top + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(1e3 * LAG_GRID_S * (best + offset - reach))


def _correlation(seen: Floats, true: Floats, reach: int) -> Floats:
    """Correlation (2 reach + 1,) of the middle of ``seen`` with ``true`` that many steps earlier."""
    inner = seen[reach:-reach] - seen[reach:-reach].mean(0)
    true = true - true.mean(0)
    size = len(true)
    spectrum = np.fft.rfft(true, axis=0) * np.conj(np.fft.rfft(inner, n=size, axis=0))
    products = np.fft.irfft(spectrum, n=size, axis=0)[: 2 * reach + 1].sum(1)
    energy = np.concatenate([[0.0], np.cumsum(np.square(true).sum(1))])
    sliding = energy[len(inner) :] - energy[: len(energy) - len(inner)]
    scale = np.sqrt(np.square(inner).sum() * sliding)
    return np.asarray((products / np.maximum(scale, 1e-12))[::-1])


def gaussian_nll(error: Floats, std: Floats) -> float:
    """Mean negative log-likelihood per dimension of errors under N(0, std^2), nats."""
    return float((np.log(std) + 0.5 * np.square(error / std) + 0.5 * np.log(2 * np.pi)).mean())


def coverage(error: Floats, std: Floats) -> float:
    """Share of errors within the central 90 % interval of N(0, std^2)."""
    return float((np.abs(error) <= INTERVAL_STDS * std).mean())
