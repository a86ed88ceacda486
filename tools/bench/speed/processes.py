"""Contestants as processes of their own: tracked clips, whole commands, and medians over their runs."""

import json
import os
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zmq


class Cost(NamedTuple):
    """Of a whole command."""

    wall_s: float
    cpu_s: float


def track(clip: Path, *options: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One run of `speed.run`, with a subscriber in this process that reads everything.

    Raises ``RuntimeError`` where it fails.
    """
    command = [sys.executable, "-m", "kinestream.tools.bench.speed.run", str(clip), *options]
    command += ["--started-ns", str(time.monotonic_ns())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            raise RuntimeError(f"{shlex.join(command)} ended with exit code {process.wait()}")
        with _Reader(json.loads(first)["endpoint"]) as reader:
            lines = process.stdout.read().splitlines()
    if process.returncode or not lines:
        raise RuntimeError(f"{shlex.join(command)} ended with exit code {process.returncode}")
    report: dict[str, Any] = json.loads(lines[-1])
    return {**report, "received": reader.received}


def filter_times() -> dict[str, Any]:
    """What `speed.filtering` prints, on one thread."""
    command = [sys.executable, "-m", "kinestream.tools.bench.speed.filtering"]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=one_thread)
    return dict(json.loads(done.stdout.splitlines()[-1]))


class _Reader:
    """A subscriber that counts poses."""

    def __init__(self, endpoint: str) -> None:
        self.received = 0
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with zmq.Context.instance().socket(zmq.SUB) as socket:
            socket.subscribe(b"pose")
            socket.connect(self._endpoint)
            while not self._stop.is_set():
                if socket.poll(200):
                    socket.recv()
                    self.received += 1


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of every number over the runs, maps entry by entry; other values as in the first run."""
    result: dict[str, Any] = {}
    for key, first in rows[0].items():
        values = [row[key] for row in rows]
        if isinstance(first, dict):
            result[key] = medians(values)
        elif isinstance(first, int | float) and not isinstance(first, bool) and None not in values:
            result[key] = round(statistics.median(values), 3)
        else:
            result[key] = first
    return result


def cost(command: Sequence[str]) -> Cost:
    """Time and processor time of a whole command, all its threads; raises ``RuntimeError`` where it fails."""
    before_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - before_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with exit code {process.returncode}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime)
