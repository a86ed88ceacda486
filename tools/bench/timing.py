"""What every benchmark shares: paired timing, percentiles, the environment, the report file.

Contestants are timed in turn within each repeat, so that a busy machine slows all of them alike.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

_PACKAGES: Final = ("torch", "numpy", "numba", "smplx", "opencv-python-headless")
_DIGITS: Final = 4  # of a millisecond


@dataclass(frozen=True)
class Latency:
    """Percentiles of the time of one call, in milliseconds.

    Wall-clock time is what a user waits for; the processor time of the calling thread tells whether a
    surprising one is the code's own or that of a busy machine.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    cpu_p50_ms: float
    repeats: int


def measure(
    call: Callable[[], object],
    *,
    repeats: int = 200,
    warmup: int = 20,
    synchronize: Callable[[], object] | None = None,
) -> Latency:
    """Time ``call`` alone; see :func:`measure_paired`."""
    return measure_paired({"": call}, repeats=repeats, warmup=warmup, synchronize=synchronize)[""]


def measure_paired(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 200,
    warmup: int = 20,
    synchronize: Callable[[], object] | None = None,
) -> dict[str, Latency]:
    """Time several calls that do the same work, in turn within each repeat.

    Args:
        calls: what to time, by name.
        repeats: timed calls of each.
        warmup: calls of each that come before and are not timed.
        synchronize: waits for a device to finish, e.g. ``torch.cuda.synchronize``.

    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"found repeats {repeats} and warmup {warmup}, expected at least 1 and 0")
    wait = synchronize or (lambda: None)
    times_ns: dict[str, list[tuple[int, int]]] = {name: [] for name in calls}
    for repeat in range(warmup + repeats):
        for name, call in calls.items():
            wait()
            start, cpu_start = time.perf_counter_ns(), time.thread_time_ns()
            call()
            wait()
            cpu_stop, stop = time.thread_time_ns(), time.perf_counter_ns()
            if repeat >= warmup:
                times_ns[name].append((stop - start, cpu_stop - cpu_start))
    return {name: _latency(times) for name, times in times_ns.items()}


def median_latency(runs: Sequence[Latency]) -> Latency:
    """Return the median over several runs, of each percentile by itself."""
    if not runs:
        raise ValueError("found no runs, expected at least one")

    middle = {
        name: _rounded(statistics.median(getattr(run, name) for run in runs))
        for name in ("p50_ms", "p95_ms", "p99_ms", "mean_ms", "cpu_p50_ms")
    }
    return Latency(**middle, repeats=runs[0].repeats)


def environment() -> dict[str, Any]:
    """Describe the machine and the software, as far as they bear on speed; no names of hosts or users."""
    return {
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES if _installed(name)},
    }


def write_report(path: Path, benchmark: str, content: Mapping[str, Any]) -> None:
    """Write a benchmark report as JSON: its name, the environment, then ``content``; dataclasses allowed."""
    report = {"benchmark": benchmark, "environment": environment(), **content}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, default=asdict) + "\n", encoding="utf-8")


def _latency(times_ns: Sequence[tuple[int, int]]) -> Latency:
    wall_ms, cpu_ms = np.asarray(times_ns, dtype=np.float64).T / 1e6
    p50, p95, p99 = np.percentile(wall_ms, [50, 95, 99])
    return Latency(
        p50_ms=_rounded(p50),
        p95_ms=_rounded(p95),
        p99_ms=_rounded(p99),
        mean_ms=_rounded(wall_ms.mean()),
        cpu_p50_ms=_rounded(np.median(cpu_ms)),
        repeats=len(times_ns),
    )


def _rounded(milliseconds: Any) -> float:
    return round(float(milliseconds), _DIGITS)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
