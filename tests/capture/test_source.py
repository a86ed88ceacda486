"""The thread between decoder and reader: policies, counters, time-outs, reconnection."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinestream.capture import (
    Decoder,
    FrameSource,
    FrameTimeoutError,
    SourceInfo,
    SourceLostError,
    SourceNotFoundError,
    StaleFrameError,
    UnreadableSourceError,
    open_source,
)
from kinestream.capture.decoder import Picture

Make = Callable[..., Path]
IMAGE = np.zeros((4, 6, 3), np.uint8)


class ScriptedDecoder(Decoder):
    """Hands out ``count`` pictures, waits at the gate before each, then ends or breaks off."""

    def __init__(self, count: int, *, live: bool = False, failures: int = 0, closes: bool = True) -> None:
        super().__init__("script")
        self.count, self.live, self.failures = count, live, failures
        self.opened = self.next = 0
        self.closed = False
        self.gate = threading.Semaphore(10**6)

    def open(self) -> SourceInfo:
        if self.opened and self.failures:
            self.failures -= 1
            raise SourceNotFoundError("script: still away")
        self.opened += 1
        clock = "monotonic" if self.live else "media"
        return SourceInfo("script", 6, 4, 100.0, None, self.live, clock)

    def next_picture(self) -> Picture | None:
        self.gate.acquire()
        if self.next == self.count * self.opened:
            if self.live:
                raise SourceLostError("script: unplugged")
            return None
        self.next += 1
        return Picture(10_000_000 * self.next, IMAGE)

    def close(self) -> None:
        self.closed = True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def test_every_loses_nothing_however_slow_the_reader() -> None:
    decoder = ScriptedDecoder(30)
    with FrameSource(decoder) as source:
        assert source.policy == "every"
        assert decoder.next == 0, "nothing is decoded before it is asked for"
        assert source.read().index == 0  # type: ignore[union-attr]
        wait_until(lambda: decoder.next >= 5)
        time.sleep(0.02)
        assert decoder.next <= 7, "the decoder runs ahead by a bounded number of frames"
        assert [frame.index for frame in source] == list(range(1, 30))
        assert source.dropped == 0
        assert source.read() is None, "the end stays the end"
    assert decoder.closed


def test_latest_gives_the_newest_and_counts_the_others() -> None:
    decoder = ScriptedDecoder(30)
    decoder.gate = threading.Semaphore(1)
    with FrameSource(decoder, policy="latest") as source:
        first = source.read()
        decoder.gate.release(10**6)
        wait_until(lambda: source.dropped == 28)
        frame = source.read()
        assert first is not None and first.index == 0
        assert frame is not None and frame.index == 29
        assert source.read() is None
        assert source.dropped == 28


def test_every_frame_is_accounted_for_when_closed_early() -> None:
    decoder = ScriptedDecoder(100)
    with FrameSource(decoder) as source:
        source.read()
        source.read()
    assert 2 + source.dropped == decoder.next


def test_paced_plays_at_the_speed_of_the_file(make_video: Callable[..., Path]) -> None:
    with open_source(make_video(count=10, fps=50), policy="paced") as source:
        assert source.clock == "monotonic"
        start = time.monotonic()
        frames = list(source)
        elapsed = time.monotonic() - start
    assert elapsed > 0.15, "nine periods of 20 ms"
    assert len(frames) + source.dropped == 10
    steps = np.diff([frame.t_capture_ns for frame in frames]) / 20e6
    assert np.allclose(steps, np.round(steps)), "capture times lie on the raster of the file"
    assert all(0 <= frame.t_ready_ns - frame.t_capture_ns for frame in frames)


def test_read_latest_does_not_consume() -> None:
    with FrameSource(ScriptedDecoder(3)) as source:
        wait_until(lambda: source.read_latest().index == 2)
        assert [frame.index for frame in source] == [0, 1, 2]


def test_a_stale_frame_is_refused() -> None:
    with FrameSource(ScriptedDecoder(3)) as source:
        source.read_latest()
        time.sleep(0.03)
        with pytest.raises(StaleFrameError, match="no frame younger than 10 ms within 0 ms"):
            source.read_latest(max_age_ms=10, timeout_ms=0)


def test_a_silent_source_times_out() -> None:
    decoder = ScriptedDecoder(3)
    decoder.gate = threading.Semaphore(0)
    with FrameSource(decoder) as source:
        with pytest.raises(FrameTimeoutError, match="script: no frame within 20 ms"):
            source.read(timeout_ms=20)
        decoder.gate.release(10)
        assert source.read() is not None, "a time-out is not the end"


def test_a_source_without_a_picture_says_so() -> None:
    with (
        FrameSource(ScriptedDecoder(0)) as source,
        pytest.raises(UnreadableSourceError, match="not one picture"),
    ):
        source.read()


def test_a_lost_camera_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinestream.capture.source.FIRST_BACKOFF_S", 0.001)
    decoder = ScriptedDecoder(3, live=True, failures=2)
    with FrameSource(decoder, policy="every") as source:
        indices = [source.read().index for _ in range(9)]  # type: ignore[union-attr]
        assert indices == list(range(9)), "numbers go on across the gap"
        assert source.reconnects >= 2


def test_a_camera_that_stays_away_ends_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinestream.capture.source.FIRST_BACKOFF_S", 0.001)
    decoder = ScriptedDecoder(2, live=True, failures=10**6)
    with FrameSource(decoder, policy="every", reconnect_s=0.05) as source:
        assert [source.read().index for _ in range(2)] == [0, 1]  # type: ignore[union-attr]
        with pytest.raises(SourceLostError, match="not back within 0 s .*still away"):
            source.read()


def test_an_unexpected_error_reaches_the_reader() -> None:
    class Broken(ScriptedDecoder):
        def next_picture(self) -> Picture | None:
            raise RuntimeError("driver bug")

    with FrameSource(Broken(1)) as source, pytest.raises(RuntimeError, match="driver bug"):
        source.read()


def test_close_ends_a_waiting_decoder_thread() -> None:
    decoder = ScriptedDecoder(100)
    source = FrameSource(decoder)
    source.read()
    source.close()
    source.close()
    assert not source._thread.is_alive() and decoder.closed
    assert source.read() is None, "closed is ended"


def test_close_before_the_first_read_frees_the_source() -> None:
    decoder = ScriptedDecoder(100)
    with FrameSource(decoder):
        pass
    assert decoder.closed


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="policy: expected one of latest, every, paced, found 'all'"):
        FrameSource(ScriptedDecoder(1), policy="all")  # type: ignore[arg-type]
