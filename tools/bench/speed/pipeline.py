"""Speed of the whole pipeline, from video file to socket, paired with MediaPipe Pose on the same clip.

    python -m kinestream.tools.bench.speed CLIP [--four CLIP] [--mediapipe-python PYTHON]
        [--peer NAME=COMMAND]

Every run is a process of its own, and the contestants take turns; medians over the runs are reported.
``--mediapipe-python`` names the interpreter of an environment with the package mediapipe. ``--peer``
takes any command that reads a video, ``{video}`` stands for the clip; its whole process counts.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import av
import typer
import zmq
from rich.console import Console

from kinestream.tools import options
from kinestream.tools.bench import timing
from kinestream.tools.metrics.clip import CLIP
from kinestream.tools.metrics.limbs import run_mediapipe

IDLE_S: Final = 4.0
COLUMNS: Final = {
    "cpu_ms_per_frame": "CPU ms/frame", "pose_cpu_ms_per_frame": "pose alone", "fps": "fps",
    "p95": "capture to publish p95 ms", "dropped": "dropped", "people_per_frame": "people",
}  # fmt: skip


def measure(
    clip: Path,
    *,
    four: Path | None = None,
    runs: int = 5,
    mediapipe_python: Path | None = None,
    peers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """All figures of the report; raises ``OSError`` or ``RuntimeError`` where a contestant fails."""
    results: dict[str, list[dict[str, Any]]] = {}
    for _ in range(runs):
        results.setdefault("every", []).append(track(clip))
        if mediapipe_python is not None:
            results.setdefault("mediapipe", []).append(run_mediapipe(mediapipe_python, clip))
        for name, command_text in (peers or {}).items():
            results.setdefault(name, []).append(_peer_run(command_text, clip))
        results.setdefault("large", []).append(track(clip, "--model", "large"))
        results.setdefault("paced", []).append(track(clip, "--policy", "paced"))
        if four is not None:
            results.setdefault("four_people", []).append(track(four))
    results["idle"] = [track(clip, "--idle-s", str(IDLE_S))]
    return {
        "clips": {path.name: _about(path) for path in (clip, four) if path is not None},
        "runs": runs,
        "load_average_1min": timing.load_average(),
        "medians": {name: medians(rows) for name, rows in results.items()},
        "worst": {"paced_dropped": max(row["dropped"] for row in results["paced"])},
        "all_runs": results,
    }


def track(clip: Path, *options: str) -> dict[str, Any]:
    """One run of `speed.run`, with a subscriber in this process that reads everything."""
    command = [sys.executable, "-m", "kinestream.tools.bench.speed.run", str(clip), *options]
    command += ["--started-ns", str(time.monotonic_ns())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
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


def _peer(text: str) -> tuple[str, str]:
    name, _, command = text.partition("=")
    if not name or "{video}" not in command:
        raise typer.BadParameter(f"--peer: expected NAME=COMMAND with {{video}} in it, found {text!r}")
    return name, command


def _peer_run(command: str, clip: Path) -> dict[str, Any]:
    """Time and processor time of a whole command."""
    words = [word.replace("{video}", str(clip)) for word in shlex.split(command)]
    before_s = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - before_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{shlex.join(words)} ended with exit code {process.returncode}")
    frames = _about(clip)["frames"]
    return {
        "cpu_ms_per_frame": round(1000 * (usage.ru_utime + usage.ru_stime) / frames, 3),
        "fps": round(frames / wall_s, 2),
        "frames": frames,
    }


def _about(clip: Path) -> dict[str, Any]:
    with av.open(f"file:{clip}") as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        return {
            "size_px": [stream.width, stream.height],
            "fps": float(rate) if rate else None,
            "frames": stream.frames or sum(1 for _ in container.decode(video=0)),
            "codec": stream.codec_context.name,
        }


def main(
    clip: options.Clip = CLIP,
    four: Annotated[Path | None, typer.Option(help="Video with four people.")] = None,
    runs: options.Runs = 5,
    mediapipe_python: options.MediapipePython = None,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="NAME=COMMAND", help="Command with {video} for the clip.")
    ] = None,
    out: options.Report = Path("docs/benchmarks/speed.json"),
) -> None:
    """Measure the whole pipeline, from video file to socket, beside MediaPipe Pose and other programs."""
    peers = dict(_peer(text) for text in peer or ())
    report = measure(clip, four=four, runs=runs, mediapipe_python=mediapipe_python, peers=peers)
    timing.write_report(out, "speed", report)
    rows = {
        name: row | ({"p95": row["capture_to_publish_ms"]["p95"]} if name == "paced" else {})
        for name, row in report["medians"].items()
    }
    every, idle = rows["every"], rows["idle"]
    stages = ", ".join(f"{name} {values['p50']:.1f}" for name, values in every["stage_ms"].items())
    console = Console(highlight=False)
    console.print(timing.table(rows, COLUMNS, first="contestant"))
    console.print(
        f"stages, p50 ms: {stages}\nfirst pose {every['first_pose_s']} s after the start, at most "
        f"{every['max_rss_mb']:.0f} MB of memory, {idle['idle_cpu_percent']} % of a core while it is idle\n"
        f"written to {out}"
    )
