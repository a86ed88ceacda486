"""One tracking session: source, tracker, publisher and sinks, opened and closed in the right order."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy.typing as npt
from rich.console import Console
from rich.markup import escape

from kinestream.capture import CameraMode, Frame, Policy, open_source
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.stream import BasePublisher, Publisher, check_recordable
from kinestream.tools.overwriting import refuse_overwriting
from kinestream.tools.process import freeze_loaded_objects
from kinestream.tools.sinks import JsonLinesSink, NpzSink, Sink, SinkGroup, record_stream
from kinestream.tools.status import StatusLine, summary


@dataclass(frozen=True)
class Outputs:
    """Files and windows that a session writes, beside what it publishes.

    Attributes:
        json: JSON lines; ``-`` is standard output.
        npz: NumPy archive.
        save_video: the source's pictures with the bodies drawn over them.
        record: recording of the stream (MCAP), with the pictures where ``pictures`` is set.
        view: show everything in the viewer Rerun.
        rrd: what the viewer would show, as a file.
        snapshots: folder for one PNG a second, or of each picture that stands alone.
        web: where to serve a page with all of it, ``[HOST:]PORT``.
    """

    json: Path | None = None
    npz: Path | None = None
    save_video: Path | None = None
    record: Path | None = None
    pictures: bool = False
    view: bool = False
    rrd: Path | None = None
    snapshots: Path | None = None
    web: str | None = None

    @property
    def need_vertices(self) -> bool:
        """Whether one of them draws meshes."""
        return self.view or any(path is not None for path in (self.save_video, self.rrd, self.snapshots))

    def paths(self) -> dict[str, Path | None]:
        """Where each is written, by its option."""
        kinds = ("json", "npz", "save_video", "record", "rrd", "snapshots")
        return {f"--{kind.replace('_', '-')}": getattr(self, kind) for kind in kinds}

    def open(self, faces: npt.NDArray[Any], fps: float | None, *, stills: bool = False) -> Iterator[Sink]:
        """Each that was asked for but the recording; ``faces`` (F, 3) of the body. Raises ``OSError``."""
        if self.json is not None:
            yield JsonLinesSink(self.json)
        if self.npz is not None:
            yield NpzSink(self.npz, fps=fps)
        if self.save_video is not None:
            from kinestream.tools.sinks.overlay_video import OverlayVideoSink

            yield OverlayVideoSink(self.save_video, faces, fps=fps)
        if self.view or self.rrd is not None:
            from kinestream.tools.sinks.rerun import RerunSink

            if self.view:
                yield RerunSink(faces)
            if self.rrd is not None:
                yield RerunSink(faces, path=self.rrd)
        if self.snapshots is not None:
            from kinestream.tools.sinks.snapshots import SnapshotSink

            yield SnapshotSink(self.snapshots, faces, every_s=0.0 if stills else 1.0)


class Session(AbstractContextManager["Session"]):
    """Tracks a source, publishes its poses and writes its outputs. A context manager.

    Attributes:
        tracker: follows the people.
        publisher: where every frame is sent, or None.
        sinks: the outputs; one that fails is left out, the others go on.
        frame_s: how long the newest frame took, from the decoded picture to the published poses.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        outputs: Outputs | None = None,
        publisher: BasePublisher | None = None,
        policy: Policy | None = None,
        mode: CameraMode | None = None,
        capture: Mapping[str, Any] | None = None,
        intrinsics: str | Path | None = None,
        vertices: bool = False,
        tell: Callable[[str], None] = lambda text: None,
        **tracking: Any,
    ) -> None:
        """Open everything; what was opened is closed again where something fails.

        Args:
            source: as in `kinestream.capture.open_source`.
            outputs: what to write.
            publisher: where to send every frame; closed with the session.
            policy: which frames to take, as there.
            mode: size and rate to ask a camera for.
            capture: further options of `kinestream.capture.open_source`.
            intrinsics: calibration file of the camera.
            vertices: give the mesh in every frame; outputs that draw it have it anyway.
            tell: takes the lines that say what was opened.
            tracking: further options of `kinestream.Tracker`.

        Raises ``CaptureError``, ``OSError`` and ``ValueError``.
        """
        outputs = outputs or Outputs()
        refuse_overwriting(
            outputs.paths(), [source, intrinsics, tracking.get("body"), tracking.get("regressor")]
        )
        if outputs.record is not None:
            check_recordable(outputs.record)
        if intrinsics is not None:
            from kinestream.geometry.calibration import load_camera

            tracking["camera"] = load_camera(intrinsics)
        self.frame_s = 0.0
        with ExitStack() as stack:
            if publisher is None and outputs.record is not None:
                publisher = Publisher(private_address(), source=str(source))
            self.publisher = stack.enter_context(publisher) if publisher is not None else None
            frames = stack.enter_context(open_source(source, policy=policy, mode=mode, **capture or {}))
            tell(f"[bold]{escape(str(frames.info))}[/]")
            vertices = vertices or outputs.need_vertices
            self.tracker = stack.enter_context(
                Tracker(frames, publisher=publisher, vertices=vertices, **tracking)
            )
            if publisher is not None and publisher.bound and not publisher.endpoint.startswith(PRIVATE):
                tell(f"publishing on {publisher.places}; Ctrl-C stops")
            self.sinks = stack.enter_context(SinkGroup())
            for sink in outputs.open(self.tracker.faces, frames.info.fps, stills=self.tracker.stills):
                self.sinks.add(sink)
            if outputs.web is not None:
                from kinestream.tools.sinks.web import WebSink

                page = WebSink(outputs.web, self.tracker, body=tracking.get("body"))
                self.sinks.add(page)
                tell(f"[bold]{page.url}[/] shows it in a browser")
            if outputs.record is not None and isinstance(publisher, Publisher):
                wait = frames.policy == "every"
                self.sinks.add(record_stream(outputs.record, publisher, wait=wait, pictures=outputs.pictures))
            self._stack = stack.pop_all()

    def frames(self, max_frames: int | None = None) -> Iterator[tuple[Frame, PoseFrame]]:
        """Every frame with the people in it, published and written; ends with the source.

        Raises ``CaptureError`` where the source fails.
        """
        tracked = self.tracker.frames()
        for number in count(1):
            before_s = time.perf_counter()
            pair = next(tracked, None)
            self.frame_s = time.perf_counter() - before_s
            if pair is None:
                return
            self.sinks.write(*pair)
            yield pair
            if number == max_frames:
                return

    def run(self, console: Console, *, max_frames: int | None = None) -> None:
        """Track to the end or Ctrl-C with a status line, complete the files, and say how it went.

        Raises ``CaptureError`` where the source fails, and ``OSError`` for files that could not be written.
        """
        freeze_loaded_objects()
        try:
            with StatusLine(self.tracker, console) as status:
                for frame, _ in self.frames(max_frames):
                    status.update(frame.index)
        except KeyboardInterrupt:
            console.print("stopped")
        finally:
            self.sinks.close()
            stats = self.tracker.stats()
            console.print(f"{stats['frames']} frames, {summary(stats).strip()}")
        self.check()

    def check(self) -> None:
        """Raise ``OSError`` where an output has failed."""
        if self.sinks.failures:
            raise OSError("; ".join(self.sinks.failures))

    def __exit__(self, *_: object) -> None:
        self._stack.close()


PRIVATE = "inproc://"


def private_address() -> str:
    """An address that nobody outside this process can reach, for a stream that is only recorded."""
    return f"{PRIVATE}{uuid.uuid4().hex}"
