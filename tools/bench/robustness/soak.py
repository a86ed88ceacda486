"""Memory, drops and latency over a long time: a clip played again and again as if it were live.

    python -m kinestream.tools.bench.robustness.soak CLIP [--minutes 20] [--out docs/benchmarks/soak.json]

The clip is opened anew at each end, played at its own speed, tracked and published as a camera would be.
Memory must not grow: the figure is the median of the last tenth over that of the second tenth (the first one
fills caches).
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from kinestream.capture import Decoder, FrameSource, SourceInfo
from kinestream.capture.av_source import AvDecoder
from kinestream.capture.decoder import Picture
from kinestream.pipeline import Tracker
from kinestream.stream import Publisher
from kinestream.tools import options
from kinestream.tools.bench.timing import write_report
from kinestream.tools.process import use_threads

SAMPLE_S: Final = 5.0
PAGE_BYTES: Final = 4096


class LoopDecoder(Decoder):
    """A file played again and again, with times that run on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.name)
        self._path = path
        self._offset_ns = self._last_ns = 0
        self._inner = AvDecoder(path, live=False)

    def open(self) -> SourceInfo:
        """Open the file for the first time."""
        self._info = self._inner.open()
        return self._info

    def next_picture(self) -> Picture | None:
        """The next picture; behind the last one comes the first."""
        picture = self._inner.next_picture()
        if picture is None:
            self.corrupt += self._inner.corrupt
            self._inner.close()
            self._inner = AvDecoder(self._path, live=False)
            self._inner.open()
            self._offset_ns = self._last_ns + round(1e9 / (self._info.fps or 30))
            picture = self._inner.next_picture()
            if picture is None:
                return None
        self._last_ns = self._offset_ns + picture.t_capture_ns
        return Picture(self._last_ns, picture.image_rgb)

    def close(self) -> None:
        """Close the file."""
        self._inner.close()


def soak(clip: Path, *, minutes: float) -> dict[str, Any]:
    """Track the clip for so long; see the module's text."""
    samples: list[dict[str, float]] = []
    with (
        Publisher("tcp://127.0.0.1:0", source=clip.name) as publisher,
        FrameSource(LoopDecoder(clip), policy="paced") as source,
        Tracker(source, publisher=publisher) as tracker,
    ):
        started_s, cpu_start_s = time.monotonic(), time.process_time()
        due_s = started_s
        for _ in tracker.frames():
            now_s = time.monotonic()
            if now_s >= due_s:
                due_s = now_s + SAMPLE_S
                stats = tracker.stats()
                samples.append({
                    "minute": round((now_s - started_s) / 60, 3), "rss_mb": round(resident_bytes() / 1e6, 2),
                    "frames": stats["frames"], "dropped": stats["dropped"],
                    "p95_ms": stats["latency_ms"]["p95"],
                })  # fmt: skip
            if now_s - started_s >= 60 * minutes:
                break
        stats = tracker.stats()
        cpu_s = time.process_time() - cpu_start_s
    return {
        "clip": clip.name, "minutes": minutes,
        "rss_growth_percent": growth_percent([sample["rss_mb"] for sample in samples]),
        "frames": stats["frames"], "dropped": stats["dropped"], "corrupt": stats["corrupt"],
        "cpu_ms_per_frame": round(1000 * cpu_s / max(1, stats["frames"]), 3), "samples": samples,
    }  # fmt: skip


def growth_percent(sizes: Sequence[float]) -> float:
    """How much larger the median of the last tenth is than that of the second tenth."""
    tenth = len(sizes) // 10
    if not tenth:
        raise ValueError(f"found {len(sizes)} samples, expected at least 10; soak for longer")
    early, late = statistics.median(sizes[tenth : 2 * tenth]), statistics.median(sizes[-tenth:])
    return round(100 * (late / early - 1), 3)


def resident_bytes() -> int:
    """Memory of this process that is in use now (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * PAGE_BYTES


def main(
    clip: options.Clip,
    minutes: Annotated[float, typer.Option(min=1, help="How long.")] = 20.0,
    out: options.Report = Path("docs/benchmarks/soak.json"),
) -> None:
    """Track a clip again and again as if it were live: memory, drops and latency over a long time."""
    use_threads()
    report = soak(clip, minutes=minutes)
    write_report(out, "soak", report)
    Console(highlight=False).print({name: value for name, value in report.items() if name != "samples"})


if __name__ == "__main__":
    typer.run(main)
