"""``kinestream batch VIDEOS... --out RESULTS``: many videos, each processed exactly once.

kinestream batch videos/ --out results/                       npz of every video below videos/
kinestream batch videos/ --out results/ --save-video --json   and pictures, and JSON lines
kinestream batch videos/ --out /shared/results --ray auto     on the Ray cluster that this computer is in
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from kinestream.defaults import DEFAULT_FILTER, DEFAULT_FOV_DEG, DEFAULT_MAX_PEOPLE, DEFAULT_MODEL
from kinestream.tools import options
from kinestream.tools.commands.error_reporting import report_errors
from kinestream.tools.process import cores, stop_on_signals

if TYPE_CHECKING:
    from kinestream.tools.batch.coordinator import Batch
    from kinestream.tools.batch.videos import Settings
    from kinestream.tools.batch.workers import Workers


def batch(
    inputs: Annotated[list[Path], typer.Argument(help="Folders of videos, and videos.")],
    out: options.OutFolder,
    npz: Annotated[bool, options.files("--npz/--no-npz", help="Write poses.npz.")] = True,
    json: Annotated[bool, options.files("--json", help="Write JSON lines, poses.jsonl.")] = False,
    save_video: Annotated[
        bool, options.files("--save-video", help="Write a video with the bodies drawn over it, overlay.mp4.")
    ] = False,
    workers: Annotated[
        int | None,
        options.workers(
            min=1,
            max=1024,
            help="Videos at the same time; default: one per core, on Ray one per CPU of the cluster.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        options.workers(
            help="Address of a Ray cluster (auto: the one this computer is in; local: a new one here). Needs "
            "kinestream[ray]."
        ),
    ] = None,
    retry_broken: Annotated[
        bool, options.workers("--retry-broken", help="Try videos again that could not be processed.")
    ] = False,
    filter_name: options.Filter = DEFAULT_FILTER,
    smooth_lag_ms: options.SmoothLagMs = 0.0,
    model: options.Model = DEFAULT_MODEL,
    flip_test: options.FlipTest = False,
    max_people: options.MaxPeople = DEFAULT_MAX_PEOPLE,
    fov_deg: options.FovDeg = DEFAULT_FOV_DEG,
    intrinsics: options.Intrinsics = None,
    body: options.Body = None,
    rotate: options.Rotate = 0,
    flip: options.Flip = False,
) -> None:
    """Track the people in many videos; go on where an earlier run stopped.

    A video whose worker dies is done again, one that cannot be read is reported and skipped. Exit code 1 when
    there is such a one.
    """
    from filelock import FileLock, Timeout

    from kinestream.filtering import filter_factory
    from kinestream.geometry.calibration import load_camera
    from kinestream.regress.shipped import MODELS
    from kinestream.tools.batch.coordinator import Batch
    from kinestream.tools.batch.results import LOCK, ResultFolder
    from kinestream.tools.batch.videos import Settings, find_videos
    from kinestream.tools.overwriting import refuse_overwriting

    console = Console(stderr=True, highlight=False)
    with report_errors(), ExitStack() as stack:
        stop_on_signals()
        settings = Settings(
            npz=npz,
            json=json,
            save_video=save_video,
            filter=filter_name,
            smooth_lag_ms=smooth_lag_ms,
            model=model if model in MODELS else str(Path(model).resolve()),
            flip_test=flip_test,
            max_people=max_people,
            fov_deg=fov_deg,
            intrinsics=str(intrinsics.resolve()) if intrinsics else None,
            body=str(body.resolve()) if body else None,
            rotate=rotate,
            flip=flip,
        )
        filter_factory(filter_name)  # a missing file is reported before any work
        if intrinsics:
            load_camera(intrinsics)
        videos = find_videos(inputs, results=out)
        for video in videos:
            refuse_overwriting({"--out": out / video.name}, [video.path, intrinsics, body])
        out.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(FileLock(out / LOCK, timeout=0))
        except Timeout as error:
            raise OSError(
                f"{out}: another batch is at work here; wait for it, or use another folder"
            ) from error
        books = Batch(videos, settings, ResultFolder(out), retry_broken=retry_broken)
        earlier = sum(entry.earlier for entry in books.entries.values())
        console.print(
            f"{len(videos)} videos, {books.left} to do" + (f", {earlier} settled before" if earlier else "")
        )
        try:
            if books.left:
                _work(books, lambda: _workers(workers, ray, settings, out), console)
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on from here")
            raise typer.Exit(130) from None
        finally:
            books.write_manifest()
        _report(books, out, console)


def _workers(count: int | None, ray: str | None, settings: "Settings", out: Path) -> "Workers":
    if ray is None:
        from kinestream.tools.batch.local import LocalWorkers

        return LocalWorkers(count or cores(), settings, out)
    from kinestream.tools.batch.cluster import RayWorkers

    return RayWorkers(count, settings, out, address=ray)


def _work(books: "Batch", new_workers: Callable[[], "Workers"], console: Console) -> None:
    """Run the batch with a bar for the whole and one for each video in work."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from kinestream.tools.batch import events

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        whole = progress.add_task("[bold]all videos", total=books.left)

        def tell(event: events.Event) -> None:
            if isinstance(event, events.Progress):
                if event.video not in bars:
                    bars[event.video] = progress.add_task(escape(event.video))
                progress.update(bars[event.video], completed=event.frames, total=event.frame_count)
                return
            if event.video in bars:
                progress.remove_task(bars.pop(event.video))
            if isinstance(event, events.Died):
                progress.console.print(f"[yellow]{escape(event.video)}: {escape(event.reason)}[/]")
            if books.entries[event.video].state in ("done", "broken"):
                progress.advance(whole)

        with new_workers() as workers:
            books.run(workers, tell)


def _report(books: "Batch", out: Path, console: Console) -> None:
    entries = books.entries.values()
    broken = [entry for entry in entries if entry.state == "broken"]
    frames = sum(entry.summary.get("frames", 0) for entry in entries)
    waiting = [entry for entry in entries if entry.state not in ("done", "broken")]
    done = len(entries) - len(broken) - len(waiting)
    console.print(f"{done} done, {frames} frames; {escape(str(out / 'manifest.json'))} lists them")
    for entry in waiting:
        if entry.reason:
            console.print(f"[bold red]not done:[/] {escape(entry.video.name)}: {escape(entry.reason)}")
    for entry in broken:
        console.print(f"[bold red]broken:[/] {escape(entry.video.name)}: {escape(entry.reason)}")
    if broken:
        console.print("broken videos are skipped from now on, unless they change or --retry-broken is given")
    if books.halted:
        console.print(f"[bold red]stopped:[/] {escape(books.halted)}")
    if waiting:
        console.print(f"{len(waiting)} videos wait; mend that, and the same command goes on from here")
    if broken or waiting:
        raise typer.Exit(1)
