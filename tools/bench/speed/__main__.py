"""Speed of the whole pipeline, from video file to socket, paired with MediaPipe Pose on the same clip.

    python -m kinestream.tools.bench.speed CLIP [--four CLIP] [--mediapipe-python PYTHON]
        [--peer NAME=COMMAND]

Every run is a process of its own, and the contestants take turns; medians over the runs are reported.
``--mediapipe-python`` names the interpreter of an environment with the package mediapipe. ``--peer``
takes any command that reads a video, ``{video}`` stands for the clip; its whole process counts.
"""

import argparse
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
from typing import Any, Final

import av
import zmq
from rich.console import Console
from rich.table import Table

from kinestream.tools.bench.timing import write_report

DEFAULT_OUT: Final = Path("docs/benchmarks/speed.json")
MEDIAPIPE_RUNNER: Final = Path(__file__).with_name("mediapipe_run.py")
IDLE_S: Final = 4.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path, help="video with one person")
    parser.add_argument("--four", type=Path, help="video with four people")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mediapipe-python", type=Path)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    options = parser.parse_args(arguments)
    report = measure(
        options.clip,
        four=options.four,
        runs=options.runs,
        mediapipe_python=options.mediapipe_python,
        peers=dict(_peer(text) for text in options.peer),
    )
    write_report(options.out, "speed", report)
    console = Console(highlight=False)
    console.print(table(report))
    console.print(f"written to {options.out}")


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
            command = [str(mediapipe_python), str(MEDIAPIPE_RUNNER), str(clip)]
            results.setdefault("mediapipe", []).append(_last_line(command))
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
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
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


def table(report: dict[str, Any]) -> Table:
    """The figures that the bars are set for."""
    shown = Table(
        "contestant", "CPU ms/frame", "fps", "capture to publish p95", "dropped", "people", box=None
    )
    for name, row in report["medians"].items():
        age = row.get("capture_to_publish_ms", {}).get("p95")
        shown.add_row(
            name,
            f"{row['cpu_ms_per_frame']:.1f}"
            + (f" (pose alone {row['pose_cpu_ms_per_frame']:.1f})" if "pose_cpu_ms_per_frame" in row else ""),
            f"{row['fps']:.1f}",
            f"{age:.1f} ms" if name == "paced" and age is not None else "",
            str(row.get("dropped", "")),
            f"{row['people_per_frame']:.2f}" if "people_per_frame" in row else "",
        )
    every, idle = report["medians"]["every"], report["medians"]["idle"]
    stages = ", ".join(f"{name} {values['p50']:.1f}" for name, values in every["stage_ms"].items())
    shown.caption = (
        f"stages, p50 ms: {stages}\nfirst pose {every['first_pose_s']} s after the start, at most "
        f"{every['max_rss_mb']:.0f} MB of memory, {idle['idle_cpu_percent']} % of a core while it is idle"
    )
    shown.caption_justify = "left"
    return shown


def _peer(text: str) -> tuple[str, str]:
    name, _, command = text.partition("=")
    if not name or "{video}" not in command:
        raise SystemExit(f"--peer: expected NAME=COMMAND with {{video}} in the command, found {text!r}")
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


def _last_line(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(
            f"{shlex.join(command)} ended with exit code {done.returncode}: {done.stderr[-400:]}"
        )
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def _about(clip: Path) -> dict[str, Any]:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        return {
            "size_px": [stream.width, stream.height],
            "fps": float(rate) if rate else None,
            "frames": stream.frames or sum(1 for _ in container.decode(video=0)),
            "codec": stream.codec_context.name,
        }


if __name__ == "__main__":
    main()
