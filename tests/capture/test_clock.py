"""Stamps of live streams on the monotonic clock."""

from collections.abc import Iterable

import numpy as np
import pytest
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


def test_invented_stamps_are_not_used() -> None:
    clock = StreamClock(arrival=True)
    arrivals = [10**15 + i * 100 * MS + (i % 3) * MS for i in range(200)]
    assert [clock.capture_time_ns(i * 40 * MS, t) for i, t in enumerate(arrivals)] == arrivals
    assert clock.jitter_ms is not None and 0.5 <= clock.jitter_ms <= 2


@pytest.mark.parametrize("rate", [0.4, 0.9, 0.96])
def test_stamps_that_do_not_run_with_the_time_are_found_out(
    rate: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A camera that counts 40 ms a picture and takes one every 40 ms / ``rate``."""
    clock = StreamClock("camera")
    arrivals = [10**15 + round(i * 40 * MS / rate) for i in range(400)]
    placed = [clock.capture_time_ns(i * 40 * MS, t) for i, t in enumerate(arrivals)]
    assert placed[-100:] == arrivals[-100:]
    assert max(b - a for a, b in zip(placed, arrivals, strict=True)) < 3_000 * MS
    assert caplog.text.count("do not run with the time") == 1


@pytest.mark.parametrize("rate", [0.999, 1.001, 1.05])
def test_a_rate_that_is_a_little_off_is_followed_without_leaps(rate: float) -> None:
    clock = StreamClock()
    arrivals = [10**15 + round(i * 40 * MS / rate) for i in range(10_000)]
    placed = np.array([clock.capture_time_ns(i * 40 * MS, t) for i, t in enumerate(arrivals)])
    assert not clock.arrival
    assert np.abs(placed - arrivals).max() < 25 * MS
    assert np.abs(np.diff(placed) - 40 * MS / rate).max() < 3 * MS


def test_a_burst_after_a_stall_keeps_its_times() -> None:
    """The network holds everything back for 5 s, then delivers at once: pictures were taken all along."""
    clock = StreamClock()
    taken = [10**15 + i * 40 * MS for i in range(400)]
    released = taken[100] + 5_000 * MS
    placed = [
        clock.capture_time_ns(i * 40 * MS, t if i < 100 else max(t, released + (i - 100) * MS))
        for i, t in enumerate(taken)
    ]
    assert np.abs(np.array(placed) - taken).max() < 1 * MS


def test_a_sender_that_paused_is_placed_anew() -> None:
    """Its stamps do not count the pause."""
    clock = StreamClock()
    arrivals = [10**15 + i * 40 * MS + (8_000 * MS if i >= 50 else 0) for i in range(200)]
    placed = [clock.capture_time_ns(i * 40 * MS, t) for i, t in enumerate(arrivals)]
    assert placed[100:] == arrivals[100:]
    assert not clock.arrival


def test_jitter_is_told_for_stamps_as_well() -> None:
    clock = StreamClock()
    delays = np.random.default_rng(0).integers(0, 20, 300)
    for i, delay in enumerate(delays):
        assert clock.jitter_ms is None or i >= 100
        clock.capture_time_ns(i * 40 * MS, 10**15 + i * 40 * MS + int(delay) * MS)
    assert clock.jitter_ms is not None and 3 < clock.jitter_ms < 8


def test_jitter_is_read_while_the_decoder_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StreamClock(arrival=True)

    def slow_deviation(values: Iterable[int]) -> float:
        return sum(clock.capture_time_ns(None, value) and value for value in values)

    monkeypatch.setattr("kinestream.capture.clock.pstdev", slow_deviation)
    for i in range(1, 102):
        clock.capture_time_ns(None, i * MS)
    assert clock.jitter_ms == pytest.approx(100)
