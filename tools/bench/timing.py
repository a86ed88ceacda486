"""What every benchmark shares: paired timing, percentiles, tables, the environment, the report file.

Contestants are timed in turn within each repeat, so that a busy machine slows all of them alike.
"""

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.table import Table

_PACKAGES: Final = ("torch", "numpy", "numba", "smplx", "opencv-python-headless")
_DIGITS: Final = 4  # of a millisecond
_TIMES: Final = ("p50_ms", "p95_ms", "p99_ms", "mean_ms", "cpu_p50_ms")


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


def processor_time_ms(call: Callable[[], object], *, repeats: int) -> float:
    """Median processor time of a call, all threads of the process together."""
    times_s = []
    for _ in range(repeats):
        before_s = time.process_time()
        call()
        times_s.append(time.process_time() - before_s)
    return round(1000 * statistics.median(times_s), 2)


def median_latency(runs: Sequence[Latency]) -> Latency:
    """Return the median over several runs, of each percentile by itself."""
    if not runs:
        raise ValueError("found no runs, expected at least one")
    middle = {name: _rounded(statistics.median(vars(run)[name] for run in runs)) for name in _TIMES}
    return Latency(**middle, repeats=runs[0].repeats)


def table(
    rows: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str], *, first: str = "", title: str = ""
) -> Table:
    """Named rows of figures as a table: ``columns`` maps keys of the rows to headings, in order."""
    shown = Table(first, *columns.values(), title=title)
    for name, row in rows.items():
        shown.add_row(name, *(figure(row.get(key)) for key in columns))
    return shown


def latency_table(results: Mapping[str, Any], *, title: str = "") -> Table:
    """A row for each `Latency`, however deep it lies."""
    rows = {name: vars(latency) for name, latency in flattened(results).items()}
    columns = {"p50_ms": "p50 ms", "p95_ms": "p95 ms", "p99_ms": "p99 ms", "cpu_p50_ms": "cpu p50 ms"}
    return table(rows, columns, first="what", title=title)


def flattened(results: Mapping[str, Any], prefix: str = "") -> dict[str, "Latency"]:
    """Every `Latency` within maps of maps, by its keys."""
    found: dict[str, Latency] = {}
    for name, value in results.items():
        where = f"{prefix}, {name}" if prefix else name
        if isinstance(value, Latency):
            found[where] = value
        elif isinstance(value, Mapping):
            found |= flattened(value, where)
    return found


def figure(value: Any) -> str:
    """A figure as tables show it: three digits, or one behind the point; a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def load_average() -> float | None:
    """How many processes wanted a processor over the last minute, where the system says so."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def environment() -> dict[str, Any]:
    """Describe the machine and the software, as far as they bear on speed; no names of hosts or users."""
    return {
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def write_report(path: Path, benchmark: str, content: Mapping[str, Any]) -> None:
    """Write a benchmark report as JSON: its name, the environment, then ``content``; dataclasses allowed."""
    report = finite({"benchmark": benchmark, "environment": environment(), **content})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """The same content for JSON: maps for dataclasses, None for NaN and infinity, which it does not know."""
    if is_dataclass(value) and not isinstance(value, type):
        return finite(asdict(value))
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _latency(times_ns: Sequence[tuple[int, int]]) -> Latency:
    wall_ms, cpu_ms = np.asarray(times_ns, dtype=np.float64).T / 1e6
    p50, p95, p99 = np.percentile(wall_ms, [50, 95, 99])
    times = map(_rounded, (p50, p95, p99, wall_ms.mean(), np.median(cpu_ms)))
    return Latency(*times, repeats=len(times_ns))


def _rounded(milliseconds: Any) -> float:
    return round(float(milliseconds), _DIGITS)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
