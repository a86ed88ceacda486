"""From the time stamps of a live stream to the monotonic clock of this host."""

import logging
from collections import deque
from statistics import pstdev

log = logging.getLogger(__name__)

_SAME_CLOCK_NS = 1_000_000_000
"""A stamp this close before its arrival is taken to be on our own clock already."""
_JUMP_NS = 1_000_000_000
"""Stamps that leap by more against their arrival, and stay there, began anew."""
_WINDOW_NS = 1_000_000_000
_WINDOWS = 10
"""The offset is that of the fastest packet of the last ten seconds."""
_SLEW = 0.02
"""How fast the offset may grow, nanoseconds a nanosecond: a sender's clock may run that slow."""
_FALSE_WINDOWS = 3
"""So many windows in a row in which the offset grows faster, and the stamps are no times."""
_JITTER_FRAMES = 100


class StreamClock:
    """Places the pictures of a live stream on `time.monotonic_ns`.

    Camera drivers stamp with the monotonic clock: such stamps are used as they are. Network streams
    count from an arbitrary origin: the offset is that of the packet which travelled fastest, so that
    jitter of the network does not become jitter of the motion. Slow drift of the sender's clock and
    restarts of the stream are followed. Where stamps are invented (``arrival``), or turn out not to run
    with the time, arrivals count instead.

    Attributes:
        arrival: whether arrivals count.
    """

    def __init__(self, name: str = "stream", *, arrival: bool = False) -> None:
        self.arrival = arrival
        self._name = name
        self._offset_ns: float | None = None
        self._last: tuple[int, int] = (0, 0)
        self._windows: deque[tuple[int, float]] = deque(maxlen=_WINDOWS)
        self._false_windows = 0
        self._late_since_ns: int | None = None
        self._spread_ns: deque[int] = deque(maxlen=_JITTER_FRAMES)

    @property
    def jitter_ms(self) -> float | None:
        """Usual error of a picture's arrival, as standard deviation over the last 100; None before."""
        if len(self._spread_ns) < _JITTER_FRAMES:
            return None
        return pstdev(tuple(self._spread_ns)) / 1e6  # a copy: the decoder's thread goes on

    def capture_time_ns(self, stamp_ns: int | None, arrival_ns: int) -> int:
        """Capture time on the monotonic clock of the picture with this stamp; never after its arrival."""
        last_stamp_ns, last_arrival_ns = self._last
        first = not last_arrival_ns
        self._last = (stamp_ns or 0, arrival_ns)
        if self.arrival or stamp_ns is None:
            if not first:
                self._spread_ns.append(arrival_ns - last_arrival_ns)
            return arrival_ns
        if self._offset_ns is None and 0 <= arrival_ns - stamp_ns < _SAME_CLOCK_NS:
            self._spread_ns.append(arrival_ns - stamp_ns)
            return stamp_ns
        offset = float(arrival_ns - stamp_ns)
        if self._offset_ns is None or self._began_anew(stamp_ns - last_stamp_ns, offset, arrival_ns):
            self._restart(offset, arrival_ns)
        else:
            self._follow(offset, arrival_ns, arrival_ns - last_arrival_ns)
            if self.arrival:
                return arrival_ns
        assert self._offset_ns is not None
        self._spread_ns.append(round(offset - self._offset_ns))
        return min(stamp_ns + round(self._offset_ns), arrival_ns)

    def _restart(self, offset: float, arrival_ns: int) -> None:
        self._offset_ns, self._late_since_ns = offset, None
        self._windows.clear()
        self._windows.append((arrival_ns, offset))

    def _began_anew(self, step_ns: int, offset: float, arrival_ns: int) -> bool:
        """Whether the stamps now count from another origin, and are not those of a burst after a stall."""
        assert self._offset_ns is not None
        if abs(offset - self._offset_ns) < _JUMP_NS:
            self._late_since_ns = None
            return False
        if not 0 <= step_ns < _JUMP_NS or offset < self._offset_ns:
            self._false_windows = 0
            return True
        if self._late_since_ns is None:
            self._late_since_ns = arrival_ns
        if arrival_ns - self._late_since_ns <= _WINDOW_NS:
            return False
        self._false_windows += 1
        return True

    def _follow(self, offset: float, arrival_ns: int, elapsed_ns: int) -> None:
        """Move the offset to that of the fastest packet of late, upwards only slowly."""
        assert self._offset_ns is not None
        start_ns, fastest = self._windows[-1]
        if arrival_ns - start_ns < _WINDOW_NS:
            self._windows[-1] = (start_ns, min(fastest, offset))
        else:
            if len(self._windows) > 1 and self._late_since_ns is None:
                growth = (fastest - self._windows[-2][1]) / max(start_ns - self._windows[-2][0], 1)
                self._false_windows = self._false_windows + 1 if growth > _SLEW else 0
            if self._false_windows >= _FALSE_WINDOWS:
                self.arrival = True
                self._spread_ns.clear()
                log.warning(
                    "%s: its time stamps do not run with the time; arrival times are used", self._name
                )
                return
            self._windows.append((arrival_ns, offset))
        target = min(value for _, value in self._windows)
        self._offset_ns = min(target, self._offset_ns + _SLEW * max(elapsed_ns, 0))
