"""What a worker does with one video; the same code in a local process and on a cluster."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from kinestream.tools.batch.events import Broken, Event, Finished, Halted, Progress, Unavailable
from kinestream.tools.batch.results import ResultFolder
from kinestream.tools.batch.videos import Settings, Video

PROGRESS_S = 0.25
_AWAY = {
    errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENXIO,
    errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
}  # fmt: skip
"""What the system says of disks, networks and limits, never of what is in a file."""


def process(video: Video, settings: Settings, results: Path) -> Iterator[Event]:
    """Track everybody in the video and put the files in place.

    Ends with `Finished`, or with what is at fault: the video (`Broken`), the way to it (`Unavailable`), this
    computer (`Halted`).
    """
    from kinestream.capture import CaptureError

    folder = ResultFolder(results)
    try:
        _models(settings.body, settings.model, settings.flip_test)
        work = folder.begin()
    except (OSError, ValueError, ImportError) as error:
        yield Halted(video.name, str(error))
        return
    outcome: Event
    try:
        summary: dict[str, Any] = {}
        yield from _track(video, settings, work, summary)
        outcome = Finished(video.name, folder.publish(work, video, settings, summary))
    except CaptureError as error:
        kind = Unavailable if _out_of_reach(video.path, error) else Broken
        outcome = kind(video.name, str(error))
    except (OSError, ImportError, MemoryError) as error:
        outcome = Halted(video.name, str(error) or "out of memory")
    except ValueError as error:
        outcome = Broken(video.name, str(error))
    shutil.rmtree(work, ignore_errors=True)
    yield outcome


def _out_of_reach(path: Path, error: BaseException | None) -> bool:
    """Whether a video that could not be read may be a good one: the file, or a cause of the error, tells."""
    while error is not None:
        if getattr(error, "errno", None) in _AWAY:
            return True
        error = error.__cause__
    return not os.access(path, os.R_OK)


@cache
def _models(body: str | None, model: str, flip_test: bool) -> Any:
    """Loaded once per worker."""
    from kinestream.models import Models

    return Models.load(body=body, regressor=model, flip_test=flip_test)


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
        smooth_lag_ms=settings.smooth_lag_ms,
        max_people=settings.max_people,
        models=_models(settings.body, settings.model, settings.flip_test),
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
