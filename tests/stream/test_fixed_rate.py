"""Beats at a fixed rate."""

import threading
import time

import numpy as np
import pytest

from kinestream.stream.fixed_rate import FixedRate


def beats(rate_hz: float, count: int, *, slow_s: float = 0.0) -> np.ndarray:
    times: list[int] = []
    enough = threading.Event()

    def tick(t_ns: int) -> None:
        times.append(t_ns)
        if slow_s:
            time.sleep(slow_s)
        if len(times) == count:
            enough.set()

    fixed_rate = FixedRate(rate_hz, tick)
    fixed_rate.start()
    assert enough.wait(20)
    fixed_rate.stop()
    fixed_rate.stop()
    assert fixed_rate.error is None
    return np.array(times)


def test_beats_keep_the_rate_on_average() -> None:
    times = beats(100, 40)
    assert (times[39] - times[0]) / 39 / 1e6 >= 9.0, "never faster than asked"


def test_late_beats_are_left_out() -> None:
    steps_ms = np.diff(beats(100, 8, slow_s=0.025)) / 1e6
    assert steps_ms.min() > 20, "no burst to catch up"


def test_an_error_ends_it_and_is_kept() -> None:
    def tick(t_ns: int) -> None:
        raise ValueError("no body")

    fixed_rate = FixedRate(1000, tick)
    fixed_rate.start()
    fixed_rate._thread.join(10)
    assert isinstance(fixed_rate.error, ValueError)


def test_stop_before_start_and_impossible_rates() -> None:
    FixedRate(10, print).stop()
    for rate in (0, -1, 1001):
        with pytest.raises(ValueError, match="rate: expected more than 0 and at most 1000"):
            FixedRate(rate, print)
