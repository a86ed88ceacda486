"""Speed of the whole pipeline, from video file to socket, paired with MediaPipe Pose on the same clip.

    python -m kinestream.tools.bench.speed [CLIP] [--four CLIP] [--mediapipe-python PYTHON]
        [--peer NAME=COMMAND] [--clips FOLDER]

Every run is a process of its own, and the contestants take turns; medians over the runs are reported. Without
CLIP all clips are made of the embedded one: 720p, with one person and with four. So are those on which starts
are timed (180 frames of 1080p) and which tell how the cost grows with people, size and rate.
``--mediapipe-python`` names the interpreter of an environment with the package mediapipe. ``--peer``
takes any command that reads a video, ``{video}`` stands for the clip; its whole process counts.
"""

import contextlib
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import av
import typer
from rich.console import Console

from kinestream.tools import options
from kinestream.tools.bench import timing
from kinestream.tools.bench.speed import growth, start
from kinestream.tools.bench.speed.processes import cost, filter_times, medians, track
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
    folder: Path,
    mediapipe_python: Path | None = None,
    peers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """All figures of the report; raises ``OSError`` or ``RuntimeError`` where a contestant fails.

    ``folder`` is where clips are made of the embedded one.
    """
    made = growth.clips(folder)
    before = timing.load_average()
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
    middle = {name: medians(rows) for name, rows in results.items()}
    report: dict[str, Any] = {
        "clips": {path.name: _about(path) for path in (clip, four) if path is not None},
        "runs": runs,
        "load_average_1min_before": before,
        "medians": middle,
        "worst": {"paced_dropped": max(row["dropped"] for row in results["paced"])},
        "start": start.measure(made["size"]["1080p"], runs=runs, mediapipe_python=mediapipe_python),
        "filter": filter_times(),
        "growth": growth.measure(made, runs=min(runs, 3)),
        "load_average_1min": timing.load_average(),
        "all_runs": results,
    }
    if mediapipe_python is not None:
        pose_ms = middle["mediapipe"]["pose_cpu_ms_per_frame"]
        report["file_to_socket_over_mediapipe_pose"] = round(middle["every"]["cpu_ms_per_frame"] / pose_ms, 3)
    return report


def _peer(text: str) -> tuple[str, str]:
    name, _, command = text.partition("=")
    if not name or "{video}" not in command:
        raise typer.BadParameter(f"--peer: expected NAME=COMMAND with {{video}} in it, found {text!r}")
    return name, command


def _peer_run(command: str, clip: Path) -> dict[str, Any]:
    """Time and processor time of a whole command."""
    spent = cost([word.replace("{video}", str(clip)) for word in shlex.split(command)])
    frames = _about(clip)["frames"]
    return {
        "cpu_ms_per_frame": round(1000 * spent.cpu_s / frames, 3),
        "fps": round(frames / spent.wall_s, 2),
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
    clip: Annotated[Path | None, typer.Argument(help="Video with one person.")] = None,
    four: Annotated[Path | None, typer.Option(help="Video with four people.")] = None,
    clips: Annotated[Path | None, typer.Option(help="Keep the clips that are made here.")] = None,
    runs: options.Runs = 5,
    mediapipe_python: options.MediapipePython = None,
    peer: Annotated[
        list[str] | None, typer.Option(metavar="NAME=COMMAND", help="Command with {video} for the clip.")
    ] = None,
    out: options.Report = Path("docs/benchmarks/speed.json"),
) -> None:
    """Measure the whole pipeline, from video file to socket, beside MediaPipe Pose and other programs."""
    peers = dict(_peer(text) for text in peer or ())
    with contextlib.ExitStack() as stack:
        folder = clips or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if clip is None:
            clip, four = growth.main_clips(folder)
        report = measure(
            clip, four=four, runs=runs, folder=folder, mediapipe_python=mediapipe_python, peers=peers
        )
    timing.write_report(out, "speed", report)
    growth.plot(report["growth"], out.with_name(growth.PLOT))
    rows = {
        name: row | ({"p95": row["capture_to_publish_ms"]["p95"]} if name == "paced" else {})
        for name, row in report["medians"].items()
    }
    every, idle = rows["every"], rows["idle"]
    stages = ", ".join(f"{name} {values['p50']:.1f}" for name, values in every["stage_ms"].items())
    console = Console(highlight=False)
    console.print(timing.table(rows, COLUMNS, first="contestant"))
    console.print(growth.table(report["growth"]))
    console.print(report["start"], report["filter"])
    console.print(
        f"stages, p50 ms: {stages}\nfirst pose {every['first_pose_s']} s after the start, at most "
        f"{every['max_rss_mb']:.0f} MB of memory, {idle['idle_cpu_percent']} % of a core while it is idle\n"
        f"written to {out}"
    )
