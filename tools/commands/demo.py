"""``kinestream demo``: from video to subscriber on the embedded clip, with measured accuracy."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from kinestream.defaults import DEFAULT_ENDPOINT, DEFAULT_ENGINE, DEFAULT_FILTER, DEFAULT_MODEL
from kinestream.tools import options
from kinestream.tools.commands.error_reporting import report_errors
from kinestream.tools.metrics.clip import CLIP, TRUTH, ClipTruth

if TYPE_CHECKING:
    from kinestream.pose import PoseFrame
    from kinestream.stream import Publisher

NEXT = """kinestream run 0                    your webcam
kinestream run clip.mp4 --save-video overlay.mp4 --npz poses.npz
kinestream listen                   in another terminal: what is on the stream
kinestream doctor                   what this computer can do"""


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Video to write.")] = Path("kinestream-demo.mp4"),
    filter_name: options.Filter = DEFAULT_FILTER,
    model: options.Model = DEFAULT_MODEL,
    engine: options.Engine = DEFAULT_ENGINE,
) -> None:
    """Track the embedded clip, publish it, subscribe to it, draw it, and measure the error.

    Needs no camera and no network.
    """
    from kinestream.tools.process import keep_freed_memory, use_threads
    from kinestream.tools.session import Outputs, Session
    from kinestream.tools.status import StatusLine

    with report_errors():
        use_threads()
        keep_freed_memory()
        truth = ClipTruth.load(TRUTH)
        publisher = _publisher()
        with Listener(publisher.endpoint) as listener:
            started_s = time.perf_counter()
            with Session(
                CLIP,
                outputs=Outputs(save_video=out),
                publisher=publisher,
                camera=truth.camera,
                filter=filter_name,
                engine=engine,
                regressor=model,
            ) as session:
                result = Measured(truth.joints_cam_m, truth.keypoints_px)
                with StatusLine(session.tracker, Console(stderr=True)) as status:
                    for frame, poses in session.frames():
                        result.add(poses, session.frame_s, time.perf_counter() - started_s)
                        status.update(frame.index)
                stats = session.tracker.stats()
                listener.wait_for(publisher.sequence)
            session.check()
            Console(highlight=False).print(_report(result, stats, listener, publisher.endpoint, out))


@dataclass
class Measured:
    """Errors against the truth, frame by frame, of the person nearest to it."""

    truth_joints_m: npt.NDArray[np.float32]
    truth_keypoints_px: npt.NDArray[np.float32]
    root_relative_mm: list[float] = field(default_factory=list)
    aligned_mm: list[float] = field(default_factory=list)
    absolute_mm: list[float] = field(default_factory=list)
    keypoint_px: list[float] = field(default_factory=list)
    frame_s: list[float] = field(default_factory=list)
    first_pose_s: float | None = None

    def add(self, poses: "PoseFrame", frame_s: float, elapsed_s: float) -> None:
        """Compare one frame, which took ``frame_s``."""
        from kinestream.trainer.metrics import aligned_error, root_error

        self.frame_s.append(frame_s)
        if not poses.persons:
            return
        if self.first_pose_s is None:
            self.first_pose_s = elapsed_s
        joints = self.truth_joints_m[poses.frame_index]
        person = min(poses, key=lambda p: float(np.linalg.norm(p.translation_m - joints[0])))
        self.root_relative_mm.append(1000 * float(root_error(person.joints_cam_m, joints)))
        self.aligned_mm.append(1000 * float(aligned_error(person.joints_cam_m, joints)))
        gaps = np.linalg.norm(person.joints_cam_m - joints, axis=-1)
        self.absolute_mm.append(1000 * float(gaps.mean()))
        points = self.truth_keypoints_px[poses.frame_index]
        self.keypoint_px.append(float(np.linalg.norm(person.keypoints_px[:, :2] - points, axis=-1).mean()))


class Listener:
    """A subscriber in a thread, as another program would be."""

    def __init__(self, endpoint: str) -> None:
        from kinestream.stream import Subscriber

        self._subscriber = Subscriber(endpoint, timeout_ms=200)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kinestream listener", daemon=True)
        self._thread.start()

    @property
    def received(self) -> int:
        """Pose messages taken in."""
        return self._subscriber.received

    def wait_for(self, count: int, *, timeout_s: float = 2.0) -> None:
        """Wait until that many messages were sent and have arrived or are lost."""
        deadline = time.monotonic() + timeout_s
        while self.received < count and time.monotonic() < deadline:
            time.sleep(0.01)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._subscriber.close()

    def _run(self) -> None:
        from kinestream.stream import StreamTimeoutError

        while not self._stop.is_set():
            try:
                self._subscriber.receive()
            except StreamTimeoutError:
                continue


def _publisher() -> "Publisher":
    """On the usual address, or on any free one where that is taken."""
    from kinestream.stream import BindError, Publisher

    try:
        return Publisher(DEFAULT_ENDPOINT, source=CLIP.name)
    except BindError:
        return Publisher("tcp://127.0.0.1:0", source=CLIP.name)


def _report(result: Measured, stats: dict[str, Any], listener: Listener, endpoint: str, out: Path) -> Table:
    table = Table(box=None, show_header=False, title="Kinestream demo", title_justify="left")
    frames = len(result.frame_s)
    table.add_row("tracked", f"{len(result.absolute_mm)} of {frames} frames")
    if result.absolute_mm:
        table.add_row(
            "error",
            f"{_mean(result.root_relative_mm)} mm MPJPE (pelvis aligned), "
            f"{_mean(result.aligned_mm)} mm PA-MPJPE, {_mean(result.absolute_mm)} mm in the camera frame, "
            f"{_mean(result.keypoint_px, 1)} px keypoints; 24 joints, against the truth of the rendered clip",
        )
    if result.first_pose_s is not None:
        table.add_row("first pose", f"after {result.first_pose_s:.1f} s, models loaded")
    median_s = float(np.median(result.frame_s)) if frames else float("nan")
    p95_s = float(np.percentile(result.frame_s, 95)) if frames else float("nan")
    table.add_row(
        "speed", f"{1 / median_s:.0f} fps ({1000 * median_s:.1f} ms per frame, p95 {1000 * p95_s:.1f} ms)"
    )
    latency = stats["latency_ms"]
    table.add_row("latency", f"{latency['p50']:.1f} ms from picture to socket, p95 {latency['p95']:.1f} ms")
    table.add_row("stream", f"{listener.received} messages received on {endpoint}")
    table.add_row("video", str(out))
    table.add_row("next", NEXT)
    return table


def _mean(values: list[float], digits: int = 0) -> str:
    return f"{float(np.mean(values)):.{digits}f}"
