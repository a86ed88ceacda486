"""Which tools `kinestream bench` runs for a topic, each in a process of its own that writes a JSON file."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinestream.defaults import ASSETS


@dataclass(frozen=True)
class Tool:
    """One benchmark.

    Attributes:
        module: run as ``python -m module``.
        report: name of the file it writes.
        out_option: the option that names the file.
        plot: name and option of a picture it writes, where it writes one.
        arguments: passed when the user passes none.
    """

    module: str
    report: str
    out_option: str = "--out"
    plot: tuple[str, str] | None = None
    arguments: tuple[str, ...] = ()

    def command(self, folder: Path, extra: list[str]) -> list[str]:
        """The command line that writes into ``folder``."""
        plot = [self.plot[1], str(folder / self.plot[0])] if self.plot else []
        own = extra or [str(argument) for argument in self.arguments]
        return [sys.executable, "-m", self.module, *own, self.out_option, str(folder / self.report), *plot]


DEMO_CLIP: Final = str(ASSETS / "demo.mp4")

TOPICS: Final[dict[str, tuple[Tool, ...]]] = {
    "clip": (Tool("kinestream.tools.bench.accuracy.embedded_clip", "clip.json"),),
    "speed": (Tool("kinestream.tools.bench.speed", "speed.json", arguments=(DEMO_CLIP,)),),
    "accuracy": (Tool("kinestream.tools.bench.accuracy", "accuracy.json", "--report"),),
    "engines": (Tool("kinestream.tools.bench.speed.engines", "engines.json", "--report"),),
    "filter": (Tool("kinestream.tools.bench.filter", "filter.json", plot=("filter_frontier.png", "--plot")),),
    "kernels": (
        Tool("kinestream.tools.bench.kernels.raster", "raster.json"),
        Tool("kinestream.tools.bench.kernels.alignment", "alignment.json", "--output"),
        Tool("kinestream.tools.bench.kernels.body", "body.json", "--output"),
    ),
}
"""By topic. What a tool needs (data, another interpreter) is passed after the topic."""
