"""How the cost of a frame grows with people, size and rate, on clips made of the embedded one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from kinestream.tools.bench import timing
from kinestream.tools.bench.speed.clips import compose
from kinestream.tools.bench.speed.processes import medians, track

PEOPLE: Final = (1, 2, 4, 8, 16)
SIZES: Final = {"480p": (854, 480), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
RATES: Final = (15, 30, 60, 120)
FULL_HD: Final = SIZES["1080p"]
PLOT: Final = "speed_growth.png"


def clips(folder: Path) -> dict[str, dict[str, Path]]:
    """The clips of each figure, written to ``folder`` where they are not there yet."""
    return {
        "people": {str(count): _made(folder, f"people_{count}", count, FULL_HD) for count in PEOPLE},
        "size": {name: _made(folder, f"size_{name}", 1, size) for name, size in SIZES.items()},
        "rate": {str(rate): _made(folder, f"rate_{rate}", 1, SIZES["720p"], rate) for rate in RATES},
    }


def main_clips(folder: Path) -> tuple[Path, Path]:
    """720p with one person, and with four."""
    return _made(folder, "size_720p", 1, SIZES["720p"]), _made(folder, "four_720p", 4, SIZES["720p"])


def _made(folder: Path, name: str, people: int, size_px: tuple[int, int], fps: int = 30) -> Path:
    path = folder / f"{name}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.mp4")
        compose(unfinished, people=people, size_px=size_px, fps=fps).replace(path)
    return path


def measure(by_figure: Mapping[str, Mapping[str, Path]], *, runs: int) -> dict[str, dict[str, Any]]:
    """Medians of runs over each of `clips`: people and sizes as fast as it goes, rates as if live."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {figure: {} for figure in by_figure}
    for _ in range(runs):
        for figure, paths in by_figure.items():
            policy = "paced" if figure == "rate" else "every"
            for name, path in paths.items():
                run = track(path, "--policy", policy, "--max-people", str(max(PEOPLE)))
                rows[figure].setdefault(name, []).append(run)
    return {
        figure: {name: medians(of_clip) for name, of_clip in named.items()} for figure, named in rows.items()
    }


def table(growth: Mapping[str, Mapping[str, Any]]) -> Table:
    """All rows as a table."""
    columns = {
        "people_per_frame": "people found", "cpu_ms_per_frame": "CPU ms/frame", "fps": "fps",
        "p95": "capture to publish p95 ms", "dropped": "dropped", "max_rss_mb": "MB",
    }  # fmt: skip
    rows = {
        f"{figure} {name}": row | row["capture_to_publish_ms"]
        for figure, named in growth.items()
        for name, row in named.items()
    }
    return timing.table(rows, columns, first="what grows")


def plot(growth: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write a picture of processor time a frame over people, size and rate. Needs the extra ``bench``."""
    from kinestream.tools.extras import optional_module

    optional_module("matplotlib", extra="bench", purpose="the plot").use("Agg")
    plt = optional_module("matplotlib.pyplot", extra="bench", purpose="the plot")
    labels = {
        "people": "people followed, 1080p",
        "size": "picture, one person",
        "rate": "frames/s, 720p, as if live",
    }
    figure, axes = plt.subplots(1, len(growth), figsize=(10, 3.2), sharey=False)
    for axis, (name, named) in zip(axes, growth.items(), strict=True):
        costs = [row["cpu_ms_per_frame"] for row in named.values()]
        if name == "people":
            axis.plot([row["people_per_frame"] for row in named.values()], costs, "o-", color="#0a6")
            axis.set_xlim(0)
        else:
            axis.plot(list(named), costs, "o-", color="#0a6")
        axis.set_ylim(0, 1.1 * max(costs))
        axis.set_xlabel(labels[name])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("processor ms a frame")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
