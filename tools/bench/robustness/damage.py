"""What damaged videos do to capture, or to the whole tracker: hundreds of mutations of a real clip.

    python -m kinestream.tools.bench.robustness.damage CLIP [--tracker] [--count 200] [--seed 0]
        [--out docs/benchmarks/damage.json]

Every damaged file is read to its end in a process of its own with a time limit; with ``--tracker`` each frame
is searched for people and published. Allowed outcomes: frames, or a ``CaptureError`` that says why there are
none. Each frame must be accounted for as processed, dropped or corrupt.
"""

import collections
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console

from kinestream.tools import options
from kinestream.tools.bench.timing import write_report

READER: Final = "kinestream.tools.bench.robustness.damage_run"
"""The module that reads the files, in a process of its own."""
LIMIT_S: Final = 60.0
BATCH: Final = 20
"""Files a process reads; a crash is then traced to one of them by name."""


def mutated(data: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """A damaged copy of a file and what was done to it."""
    kind = ("bits", "bytes", "block", "hole", "cut", "header")[random.integers(6)]
    damaged = np.frombuffer(data, np.uint8).copy()
    size = len(damaged)
    if kind == "cut":
        return kind, data[: random.integers(1, size)]
    if kind == "hole":
        start, length = random.integers(size), random.integers(1, 1 + size // 10)
        return kind, data[:start] + data[start + length :]
    if kind == "header":
        places = random.integers(0, min(size, 4096), random.integers(1, 40))
        damaged[places] = random.integers(0, 256, len(places))
    elif kind == "block":
        start, length = random.integers(size), random.integers(1, 1 + size // 20)
        part = damaged[start : start + length]
        part[:] = random.integers(0, 256, len(part))
    else:
        places = random.integers(0, size, random.integers(1, 400))
        if kind == "bits":
            damaged[places] ^= np.uint8(1) << random.integers(0, 8, len(places)).astype(np.uint8)
        else:
            damaged[places] = random.integers(0, 256, len(places))
    return kind, damaged.tobytes()


def read_all(paths: list[Path], *, tracker: bool = False) -> list[dict[str, Any]]:
    """What became of each file; a crash or a hang ends the batch and is reported for the file it was at."""
    command = [sys.executable, "-m", READER, *map(str, paths)]
    command += ["--tracker"] if tracker else []
    started_s = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_S * len(paths), check=False
        )
        output, errors, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as slow:
        output, errors, code = (slow.stdout or b"").decode(), "", None
    outcomes: list[dict[str, Any]] = []
    for line in output.splitlines():
        word, *rest = line.split()
        if word == "reading":
            outcomes.append({"outcome": "hang" if code is None else "crash"})
        elif word == "frames":
            frames, corrupt, accounted = int(rest[0]), int(rest[1]), rest[2] == "True"
            outcomes[-1] = {
                "outcome": "frames" if accounted else "unaccounted", "frames": frames, "corrupt": corrupt
            }  # fmt: skip
        else:
            outcomes[-1] = {"outcome": rest[0]}
    if not outcomes:
        raise RuntimeError(f"{shlex.join(command)} ended with exit code {code}: {errors[-400:]}")
    outcomes[-1]["batch_s"] = round(time.monotonic() - started_s, 2)
    return outcomes


def measure(clip: Path, *, count: int, seed: int, tracker: bool = False) -> dict[str, Any]:
    """Damage, read, count; see the module's text."""
    random, data = np.random.default_rng(seed), clip.read_bytes()
    outcomes: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    frames = corrupt = 0
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, count, BATCH):
            paths = []
            for number in range(first, min(first + BATCH, count)):
                kind, damaged = mutated(data, random)
                kinds[kind] += 1
                paths.append(Path(folder) / f"{number}-{kind}{clip.suffix}")
                paths[-1].write_bytes(damaged)
            while paths:
                done = read_all(paths, tracker=tracker)
                for outcome in done:
                    outcomes[outcome["outcome"]] += 1
                    frames += outcome.get("frames", 0)
                    corrupt += outcome.get("corrupt", 0)
                paths = paths[len(done) :]  # behind one that crashed
    return {
        "clip": clip.name, "what": "whole tracker" if tracker else "capture", "files": count,
        "damage": dict(kinds), "outcomes": dict(outcomes), "frames_read": frames, "corrupt": corrupt,
    }  # fmt: skip


def main(
    clip: options.Clip,
    tracker: Annotated[bool, typer.Option("--tracker", help="The whole tracker, not capture alone.")] = False,
    count: Annotated[int, typer.Option(min=1, help="Damaged files.")] = 200,
    seed: options.Seed = 0,
    out: options.Report = Path("docs/benchmarks/damage.json"),
) -> None:
    """Damage copies of a video in many ways, read each to its end, count what becomes of them."""
    report = measure(clip, count=count, seed=seed, tracker=tracker)
    write_report(out, "damage", report)
    Console(highlight=False).print(report)


if __name__ == "__main__":
    typer.run(main)
