"""How long each stage of the pipeline takes, over the newest frames."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

WINDOW = 300
"""Frames over which percentiles are taken."""


class StageTimes:
    """Durations by name, in a window of fixed length."""

    def __init__(self) -> None:
        self._durations_ns: dict[str, deque[int]] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time the body of a ``with`` statement."""
        start_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter_ns() - start_ns)

    def add(self, stage: str, duration_ns: int) -> None:
        """Note one duration."""
        self._durations_ns.setdefault(stage, deque(maxlen=WINDOW)).append(duration_ns)

    def percentiles(self) -> dict[str, dict[str, float]]:
        """For each stage, milliseconds at ``p50``, ``p95`` and ``p99``."""
        return {stage: percentiles_ms(durations) for stage, durations in list(self._durations_ns.items())}


class Rate:
    """Events per second over the newest ones."""

    def __init__(self, *, window: int = 60) -> None:
        self._times_ns: deque[int] = deque(maxlen=window)

    def tick(self, t_ns: int) -> None:
        """Note an event."""
        self._times_ns.append(t_ns)

    @property
    def per_second(self) -> float:
        """Zero before the second event."""
        if len(self._times_ns) < 2:
            return 0.0
        return (len(self._times_ns) - 1) * 1e9 / max(1, self._times_ns[-1] - self._times_ns[0])


def percentiles_ms(durations_ns: Iterable[int]) -> dict[str, float]:
    """Milliseconds at ``p50``, ``p95`` and ``p99``; all zero where nothing was measured."""
    values = np.fromiter(durations_ns, np.float64)
    quantiles = np.percentile(values, [50, 95, 99]) / 1e6 if len(values) else np.zeros(3)
    return dict(zip(("p50", "p95", "p99"), quantiles.round(3).tolist(), strict=True))
