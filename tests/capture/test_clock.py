"""Stamps of live streams on the monotonic clock."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.capture.clock import StreamClock

MS = 1_000_000


def test_driver_stamps_on_our_clock_are_kept() -> None:
    clock = StreamClock()
    assert clock.capture_time_ns(10_000 * MS, 10_012 * MS) == 10_000 * MS
    assert clock.capture_time_ns(10_033 * MS, 10_090 * MS) == 10_033 * MS


@settings(deadline=None)
@given(st.lists(st.integers(0, 200), min_size=2, max_size=60), st.integers(-(10**15), 10**12))
def test_network_jitter_does_not_become_motion(delays_ms: list[int], origin_ns: int) -> None:
    clock = StreamClock()
    start = 10**15 + 5 * 10**9
    taken, placed = [], []
    for i, delay in enumerate([0, *delays_ms]):
        taken.append(start + i * 33 * MS)
        stamp = taken[-1] - start + origin_ns
        placed.append(clock.capture_time_ns(stamp, taken[-1] + delay * MS))
    error_ms = (np.array(placed) - np.array(taken)) / MS
    assert np.abs(error_ms).max() < 0.2, "the fastest packet sets the offset, drift allowance aside"


def test_a_restarted_stream_is_placed_anew() -> None:
    clock = StreamClock()
    for i in range(10):
        clock.capture_time_ns(i * 40 * MS, 10**15 + i * 40 * MS)
    again = clock.capture_time_ns(0, 10**15 + 60_000 * MS)
    assert again == 10**15 + 60_000 * MS


def test_a_slow_sender_clock_is_followed() -> None:
    clock = StreamClock()
    for i in range(20_000):  # 13 minutes, sender 20 ppm slow
        arrival = 10**15 + i * 40 * MS
        placed = clock.capture_time_ns(round(i * 40 * MS * (1 - 20e-6)), arrival)
    assert abs(placed - arrival) < 1 * MS


def test_capture_is_never_after_arrival() -> None:
    clock = StreamClock()
    clock.capture_time_ns(0, 10**15 + 100 * MS)
    assert clock.capture_time_ns(40 * MS, 10**15 + 110 * MS) <= 10**15 + 110 * MS
