"""What a worker does with one video; the same code in a local process and on a cluster."""

import os
import shutil
import time
from collections.abc import Iterator
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


@cache
def _models(body: str | None, model: str) -> Any:
    """Loaded once per worker."""
    from kinestream.models import Models

    return Models.load(body=body, regressor=model)


def _track(video: Video, settings: Settings, work: Path, summary: dict[str, Any]) -> Iterator[Event]:
    from kinestream.tools.session import Outputs, Session

    started_s, told_s = time.monotonic(), -PROGRESS_S
    seen: set[int] = set()
    frames = with_people = 0
    files = {"npz": "poses.npz", "json": "poses.jsonl", "save_video": "overlay.mp4"}
    with Session(
        video.path,
        outputs=Outputs(**{kind: work / name for kind, name in files.items() if getattr(settings, kind)}),
        policy="every",
        capture={"rotate": settings.rotate, "flip": settings.flip},
        intrinsics=settings.intrinsics,
        fov_deg=settings.fov_deg,
        filter=settings.filter,
        max_people=settings.max_people,
        models=_models(settings.body, settings.model),
    ) as session:
        assert session.tracker.source is not None
        for _, poses in session.frames():
            session.check()  # a video without one of its files is no result
            frames += 1
            with_people += bool(poses.persons)
            seen.update(person.track_id for person in poses)
            if time.monotonic() - told_s > PROGRESS_S:
                told_s = time.monotonic()
                yield Progress(video.name, frames, session.tracker.source.info.frame_count, os.getpid())
        corrupt = session.tracker.source.corrupt
    session.check()
    summary.update(
        frames=frames,
        frames_with_people=with_people,
        tracks=len(seen),
        corrupt=corrupt,
        seconds=round(time.monotonic() - started_s, 3),
    )
