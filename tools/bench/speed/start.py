"""How long a start takes, warm and cold, and what a short clip costs with it, beside MediaPipe."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from kinestream.tools.bench.speed.processes import cost, track
from kinestream.tools.metrics import limbs

WARM_RUNS: Final = 7
COLD_RUNS: Final = 3


def measure(clip: Path, *, runs: int, mediapipe_python: Path | None = None) -> dict[str, Any]:
    """Start to first pose with and without caches, and the processor time of whole runs of a clip.

    Everything in turn with MediaPipe where its interpreter is given. Raises as `track` and `cost` do.
    """
    warm, imports, whole, peer = [], [], [], []
    track(clip)  # fills the caches
    for _ in range(WARM_RUNS):
        warm.append(track(clip)["first_pose_s"])
        if mediapipe_python is not None:
            imports.append(_seconds([str(mediapipe_python), "-c", "import mediapipe"]))
    ours = [sys.executable, "-m", "kinestream.tools.bench.speed.run", str(clip)]
    script = Path(limbs.__file__).with_name("mediapipe_run.py")
    for _ in range(runs):
        whole.append(cost(ours).cpu_s)
        if mediapipe_python is not None:
            peer.append(cost([str(mediapipe_python), str(script), str(clip)]).cpu_s)
    report: dict[str, Any] = {
        "first_pose_warm_s": _summary(warm),
        "first_pose_cold_s": _summary(cold := [_cold(clip) for _ in range(COLD_RUNS)], "first_pose_s"),
        "progress_lines_cold": min(len(run["progress"]) for run in cold),
        "whole_run_cpu_s": _summary(whole),
    }
    if mediapipe_python is not None:
        report |= {"import_mediapipe_s": _summary(imports), "mediapipe_whole_run_cpu_s": _summary(peer)}
        report["first_pose_over_import_mediapipe"] = _ratio(report, "first_pose_warm_s", "import_mediapipe_s")
        report["whole_run_over_mediapipe"] = _ratio(report, "whole_run_cpu_s", "mediapipe_whole_run_cpu_s")
    return report


def _cold(clip: Path) -> dict[str, Any]:
    """A run that finds no cache at all: neither engines nor compiled code."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("NUMBA_CACHE_DIR", "KINESTREAM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA")
        empty = {name: f"{folder}/{name}" for name in names}
        return track(clip, environment=os.environ | empty)


def _seconds(command: list[str]) -> float:
    before_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - before_s


def _summary(values: list[Any], key: str | None = None) -> dict[str, Any]:
    numbers = [float(value[key] if key else value) for value in values]
    return {
        "p50": round(statistics.median(numbers), 3),
        "least": round(min(numbers), 3),
        "most": round(max(numbers), 3),
        "runs": len(numbers),
    }


def _ratio(report: dict[str, Any], ours: str, theirs: str) -> float:
    return round(report[ours]["p50"] / report[theirs]["p50"], 3)
