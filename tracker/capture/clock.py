"""From the time stamps of a live stream to the monotonic clock of this host."""

_SAME_CLOCK_NS = 1_000_000_000
"""A stamp this close before its arrival is taken to be on our own clock already."""
_JUMP_NS = 1_000_000_000
"""A stream whose stamps jump by more than this began anew."""
_DRIFT_PER_NS = 50e-6
"""How much a sender's clock may drift against ours (50 ppm)."""


class StreamClock:
    """Places the stamps of a live stream on `time.monotonic_ns`.

    Camera drivers stamp with the monotonic clock: such stamps are used as they are. Network streams
    count from an arbitrary origin: the offset is that of the packet which travelled fastest, so that
    jitter of the network does not become jitter of the motion. Slow drift of the sender's clock and
    restarts of the stream are followed.
    """

    def __init__(self) -> None:
        self._offset_ns: float | None = None
        self._last_arrival_ns = 0

    def capture_time_ns(self, stamp_ns: int, arrival_ns: int) -> int:
        """Capture time on the monotonic clock of the picture with this stamp; never after its arrival."""
        if self._offset_ns is None and 0 <= arrival_ns - stamp_ns < _SAME_CLOCK_NS:
            return stamp_ns
        offset = float(arrival_ns - stamp_ns)
        if self._offset_ns is not None and abs(offset - self._offset_ns) < _JUMP_NS:
            drift = _DRIFT_PER_NS * (arrival_ns - self._last_arrival_ns)
            offset = min(offset, self._offset_ns + drift)
        self._offset_ns, self._last_arrival_ns = offset, arrival_ns
        return min(stamp_ns + round(offset), arrival_ns)
