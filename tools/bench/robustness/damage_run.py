"""Reads or tracks video files to their ends, for `damage`; prints what became of each.

    python -m kinestream.tools.bench.robustness.damage_run [--tracker] FILE...

Two lines a file: ``reading PATH``, then ``frames COUNT CORRUPT ACCOUNTED`` or ``refused ERROR``.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kinestream.capture import CaptureError, Frame, FrameSource, open_source

Read = Callable[[FrameSource], Iterator[Frame]]


def main(
    files: Annotated[list[Path], typer.Argument(help="Videos.")],
    tracker: Annotated[bool, typer.Option("--tracker", help="Track people in every frame, publish.")] = False,
) -> None:
    """Read, count, tell."""
    console = Console(highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        read = tracked(stack) if tracker else iter
        for path in files:
            console.print("reading", path)
            try:
                with open_source(path, policy="every") as source:
                    console.print("frames", *account(source, read))
            except CaptureError as error:
                console.print("refused", type(error).__name__)


def account(source: FrameSource, read: Read) -> tuple[int, int, bool]:
    """Frames that came out, damaged ones, and whether these two are all that there were, in order."""
    frames = [(frame.index, frame.t_capture_ns) for frame in read(source)]
    rising = all(a < b for (_, a), (_, b) in itertools.pairwise(frames))
    last = frames[-1][0] + 1 if frames else 0
    whole = len(frames) <= last <= len(frames) + source.corrupt and not source.dropped
    return len(frames), source.corrupt, rising and whole


def tracked(stack: ExitStack) -> Read:
    """Reads through a tracker; fails where one frame is not processed and published exactly once."""
    from kinestream.models import Models
    from kinestream.pipeline import Tracker
    from kinestream.stream import Publisher
    from kinestream.tools.process import use_threads

    use_threads()
    models = Models.load()
    publisher = stack.enter_context(Publisher("tcp://127.0.0.1:0"))

    def read(source: FrameSource) -> Iterator[Frame]:
        published = publisher.sequence
        with Tracker(source, models=models, publisher=publisher) as tracker:
            count = 0
            for frame, poses in tracker.frames():
                count += 1
                if poses.frame_index != frame.index or poses.t_capture_ns != frame.t_capture_ns:
                    raise AssertionError(f"frame {frame.index} came out as {poses.frame_index}")
                yield frame
            if not count == tracker.stats()["frames"] == publisher.sequence - published:
                raise AssertionError(f"{count} frames, {tracker.stats()['frames']} processed")

    return read


if __name__ == "__main__":
    typer.run(main)
