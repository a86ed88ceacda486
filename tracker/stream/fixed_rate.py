"""Publishing at a fixed rate, whatever the rate of the frames."""

import threading
import time
from collections.abc import Callable

NS_PER_S = 1_000_000_000


class FixedRate:
    """Calls ``tick`` with the time of each beat, ``rate_hz`` times a second, in a thread of its own.

    Beats that come too late, since the last one took too long, are left out. An exception ends it and
    is kept in ``error``.
    """

    def __init__(self, rate_hz: float, tick: Callable[[int], None]) -> None:
        if not 0 < rate_hz <= 1000:
            raise ValueError(f"rate: expected more than 0 and at most 1000 per second, found {rate_hz}")
        self.error: Exception | None = None
        self._period_ns = round(NS_PER_S / rate_hz)
        self._tick = tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kinestream cadence", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; may be called twice, and before `start`."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due_ns = time.monotonic_ns()
        try:
            while not self._stop.is_set():
                self._tick(time.monotonic_ns())
                now_ns = time.monotonic_ns()
                due_ns += self._period_ns
                if due_ns < now_ns:
                    due_ns = now_ns - (now_ns - due_ns) % self._period_ns + self._period_ns
                self._stop.wait((due_ns - now_ns) / NS_PER_S)
        except Exception as error:  # noqa: BLE001 - the tracker raises it where its user can see it
            self.error = error
