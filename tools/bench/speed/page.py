"""What the page costs the tracker, how soon a browser shows a picture, and how many it shows.

python -m kinestream.tools.bench.speed.page --out docs/benchmarks/page.json

The tracker is `kinestream run CLIP --policy paced`, the clip repeated, at its own rate: without a page, with
a page that a headless Chromium shows, and with a second Chromium that is stopped after its first picture. The
browsers run on the same processor. What a graphics card would do is left out there, but for a last run in
which the processor draws as well, which takes it longer than all the rest.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import av
import typer

from kinestream.defaults import ASSETS
from kinestream.tools import options
from kinestream.tools.bench.timing import write_report
from kinestream.tools.extras import optional_module

WINDOW: Final = {"width": 480, "height": 300}
SETTLE_S: Final = 4.0
COUNTED_S: Final = 10.0
SHOWN: Final = """
window.shown = [];
for (const name of ['texImage2D', 'texSubImage2D']) {
  const original = WebGL2RenderingContext.prototype[name];
  WebGL2RenderingContext.prototype[name] = function (...given) {
    if (given[given.length - 1] instanceof HTMLImageElement) window.shown.push(performance.now());
    return original.apply(this, given);
  };
}
"""
"""Notes when a picture goes to the graphics card, in milliseconds since the page was asked for."""
UNDRAWN: Final = """
for (const name of ['drawElements', 'drawArrays', 'drawElementsInstanced', 'generateMipmap'])
  WebGL2RenderingContext.prototype[name] = () => {};
"""
"""Leaves out what a graphics card would do."""
SUMMARY: Final = re.compile(r"(\d+) frames,\s+([\d.]+) fps\s+(\d+) ms \(p95 (\d+)\).*?(\d+) dropped")


def repeated(clip: Path, seconds: float, path: Path) -> None:
    """Write the clip as often as it takes to last so long."""
    with av.open(str(path), "w") as target:
        stream, offset_s = None, 0.0
        while offset_s < seconds:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                stream = stream or target.add_stream_from_template(video)
                length_s = float(video.duration * video.time_base)
                for packet in source.demux(video):
                    if packet.dts is not None and packet.pts is not None:
                        packet.dts += round(offset_s / packet.time_base)
                        packet.pts += round(offset_s / packet.time_base)
                        packet.stream = stream
                        target.mux(packet)
                offset_s += length_s


def track(
    clip: Path,
    watching: Any = None,
    stalled: tuple[Any, int] | None = None,
    *,
    web: bool = True,
    drawn: bool = False,
) -> dict[str, Any]:
    """Track the clip while a browser looks, and another one, given with its process, stands still."""
    command = [sys.executable, "-m", "kinestream.tools.cli", "run", str(clip), "--policy", "paced"]
    command += ["--no-publish", *(["--web", "0"] if web else [])]
    wide = os.environ | {"COLUMNS": "200"}
    tracker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, bufsize=1, env=wide)
    assert tracker.stderr is not None
    found: dict[str, Any] = {}
    said = ""
    while web and "http://" not in said:
        said = tracker.stderr.readline()
    url = said.split()[0] if web else ""
    with ExitStack() as stack:
        if stalled is not None:
            opened(stalled[0], url, drawn=False)
            stack.enter_context(stopped(stalled[1]))
        if watching is not None:
            tab = opened(watching, url, drawn=drawn)
            found["first_picture_ms"] = round(tab.evaluate("window.shown[0]"))
            tab.wait_for_timeout(1000 * SETTLE_S)
            before, lost, since_s = tab.evaluate("window.shown.length"), dropped(tab), time.monotonic()
            tab.wait_for_timeout(1000 * COUNTED_S)
            count = tab.evaluate("window.shown.length") - before
            found["dropped_meanwhile"] = dropped(tab) - lost
            found["pictures_per_s"] = round(count / (time.monotonic() - since_s), 1)
        said = tracker.stderr.read()
    _, status, usage = os.wait4(tracker.pid, 0)
    tracker.returncode = os.waitstatus_to_exitcode(status)
    match = SUMMARY.search(said)
    if status != 0 or match is None:
        raise RuntimeError(f"the tracker failed: {said}")
    frames = int(match[1])
    return found | {
        "frames": frames,
        "dropped": int(match[5]),
        "fps": float(match[2]),
        "latency_p50_ms": int(match[3]),
        "latency_p95_ms": int(match[4]),
        "processor_ms_per_frame": round(1000 * (usage.ru_utime + usage.ru_stime) / frames, 1),
    }


def opened(browser: Any, url: str, *, drawn: bool) -> Any:
    """A tab that has shown a picture of the page."""
    tab = browser.new_page(viewport=WINDOW)
    tab.add_init_script(SHOWN if drawn else SHOWN + UNDRAWN)
    tab.goto(url)
    tab.wait_for_function("window.shown.length > 0", timeout=60_000)
    return tab


def dropped(tab: Any) -> int:
    """How many frames the tracker has lost, as the page says."""
    return int(re.search(r"Dropped\s+(\d+)", tab.inner_text("body"))[1])  # type: ignore[index]


@contextmanager
def stopped(ancestor: int) -> Iterator[None]:
    """This process and its descendants stand still."""
    pids = descendants(ancestor)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def descendants(ancestor: int) -> list[int]:
    """A process and all that came from it."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def main(
    clip: Annotated[Path, typer.Argument(help="Video with one person, at 30 fps.")] = ASSETS / "demo.mp4",
    seconds: Annotated[float, typer.Option(help="Length of each run.")] = 30.0,
    out: options.Report = Path("page.json"),
) -> None:
    """Measure and write the report."""
    playwright = optional_module("playwright.sync_api", extra="test", purpose="this benchmark")
    program = shutil.which("chromium")
    if program is None:
        raise typer.BadParameter("needs the browser Chromium (apt-get install chromium)")
    with ExitStack() as stack:
        long_clip = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "long.mp4"
        repeated(clip, seconds, long_clip)
        chromium = stack.enter_context(playwright.sync_playwright()).chromium
        arguments = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        known = descendants(os.getpid())
        second = chromium.launch(executable_path=program, args=arguments)
        stalled = second, next(pid for pid in descendants(os.getpid()) if pid not in known)
        first = chromium.launch(executable_path=program, args=arguments)
        results = {
            "no_page": track(long_clip, web=False),
            "one_browser": track(long_clip, first),
            "one_browser_and_one_stalled": track(long_clip, first, stalled),
            "one_browser_that_draws_in_software": track(long_clip, first, drawn=True),
        }
        first.close()
        second.close()
    write_report(out, "page", {"clip": clip.name, "seconds": seconds, "window": WINDOW, "results": results})
    for name, result in results.items():
        typer.echo(f"{name}: {result}")


if __name__ == "__main__":
    typer.run(main)
