"""What a worker does with one video; the same code in a local process and on a cluster."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from kinestream.tools.batch.events import Broken, Event, Finished, Progress
from kinestream.tools.batch.results import ResultFolder
from kinestream.tools.batch.videos import Settings, Video

PROGRESS_S = 0.25


def process(video: Video, settings: Settings, results: Path) -> Iterator[Event]:
    """Track everybody in the video and put the files in place; ends with `Finished` or `Broken`."""
    from kinestream.capture import CaptureError

    folder = ResultFolder(results)
    work: Path | None = None
    try:
        work = folder.begin()
        summary: dict[str, Any] = {}
        yield from _track(video, settings, work, summary)
        yield Finished(video.name, folder.publish(work, video, settings, summary))
    except (CaptureError, OSError, ValueError) as error:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        yield Broken(video.name, str(error))


def use_threads(count: int) -> None:
    """Limit this process's number crunching, so that workers do not crowd each other out."""
    import cv2
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _models(body: str | None, model: str) -> Any:
    """Loaded once per worker."""
    from kinestream.models import Models

    return Models.load(body=body, regressor=model)


def _track(video: Video, settings: Settings, work: Path, summary: dict[str, Any]) -> Iterator[Event]:
    from kinestream.geometry.calibration import load_camera
    from kinestream.pipeline import Tracker
    from kinestream.tools.sinks import JsonLinesSink, NpzSink, OverlayVideoSink, Sink

    started_s, told_s = time.monotonic(), -PROGRESS_S
    seen: set[int] = set()
    with ExitStack() as stack:
        tracker = stack.enter_context(
            Tracker(
                video.path,
                policy="every",
                camera=load_camera(settings.intrinsics) if settings.intrinsics else None,
                fov_deg=settings.fov_deg,
                filter=settings.filter_name,
                max_people=settings.max_people,
                vertices=settings.overlay,
                models=_models(settings.body, settings.model),
            )
        )
        assert tracker.source is not None
        info = tracker.source.info
        sinks: list[Sink] = []
        if settings.npz:
            sinks.append(stack.enter_context(NpzSink(work / "poses.npz")))
        if settings.json:
            sinks.append(stack.enter_context(JsonLinesSink(work / "poses.jsonl")))
        if settings.overlay:
            sinks.append(
                stack.enter_context(OverlayVideoSink(work / "overlay.mp4", tracker.faces, fps=info.fps))
            )
        frames = with_people = 0
        for frame, poses in tracker.frames():
            for sink in sinks:
                sink.write(frame, poses)
            frames += 1
            with_people += bool(poses.persons)
            seen.update(person.track_id for person in poses)
            if time.monotonic() - told_s > PROGRESS_S:
                told_s = time.monotonic()
                yield Progress(video.name, frames, info.frame_count, os.getpid())
        corrupt = tracker.source.corrupt
    summary.update(
        frames=frames,
        frames_with_people=with_people,
        tracks=len(seen),
        corrupt=corrupt,
        seconds=round(time.monotonic() - started_s, 3),
    )
