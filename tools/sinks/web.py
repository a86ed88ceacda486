"""Frames on a page in the browser. Needs the extra ``web``."""

import dataclasses
import logging
import queue
import threading
import time
from pathlib import Path
from typing import Any, Final

import cv2

from kinestream.capture import Frame
from kinestream.kernels.array_types import RgbImage
from kinestream.pipeline import MAX_LEAD_MS, Tracker
from kinestream.pose import PoseFrame
from kinestream.tools.sinks.base import Sink, SinkError
from kinestream.tools.web.page import Control, Update
from kinestream.tools.web.process import PageProcess

log = logging.getLogger(__name__)

LONGEST_SIDE_PX: Final = 640
JPEG_QUALITY: Final = 80
STATUS_S: Final = 0.25


class WebSink(Sink):
    """Shows the newest frame that the page has time for; the others are left out, and nobody waits.

    Attributes:
        url: where the page is.
        shown: frames handed to the page.
    """

    def __init__(self, address: str, tracker: Tracker, *, body: str | Path | None = None) -> None:
        """Serve the page; what is set there changes ``tracker``.

        Raises ``SinkError`` where it cannot be served.
        """
        self._tracker = tracker
        controls = [Control("lead_ms", "Lead (ms)", tracker.lead_ms, 0.0, MAX_LEAD_MS, 5.0)]
        if tracker.smoothness is not None:
            controls.insert(0, Control("smoothness", "Smoothness", tracker.smoothness, -1.0, 1.0, 0.05))
        try:
            self._page = PageProcess(address, body=body, controls=tuple(controls), on_change=self._set)
        except OSError as error:
            raise SinkError(str(error)) from error
        self.url = self._page.url
        self.name = f"the page {self.url}"
        self.shown = 0
        self._status: dict[str, str] = {}
        self._told_s = -STATUS_S
        self._jobs: queue.SimpleQueue[tuple[Frame, PoseFrame] | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send, name="kinestream page pictures", daemon=True)
        self._sender.start()

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Show this frame if the page is ready for one. Raises ``SinkError`` once the page has ended."""
        if not self._page.alive:
            raise SinkError("it ended; start the tracker anew to have it again")
        if not self._page.wanted.is_set():
            return
        self._page.wanted.clear()
        now_s = time.monotonic()
        if now_s - self._told_s >= STATUS_S:
            self._told_s = now_s
            self._status = status_of(self._tracker.stats())
        self._jobs.put((frame, poses))

    def close(self) -> None:
        """End the page."""
        self._jobs.put(None)
        self._sender.join()
        self._page.close()

    def _send(self) -> None:
        """Body of the thread: make pictures small and hand them over."""
        while (job := self._jobs.get()) is not None:
            frame, poses = job
            if any(person.vertices_cam_m is not None for person in poses):
                bare = (dataclasses.replace(person, vertices_cam_m=None) for person in poses)
                poses = dataclasses.replace(poses, persons=tuple(bare))
            status = {"Frame": str(poses.frame_index), **self._status}
            self._page.show(Update(poses, small_jpeg(frame.image_rgb), status))
            self.shown += 1

    def _set(self, name: str, value: float) -> None:
        try:
            setattr(self._tracker, name, value)
        except ValueError as error:
            log.warning("the page: %s", error)


def status_of(stats: dict[str, Any]) -> dict[str, str]:
    """What stands above the controls, from a tracker's statistics."""
    latency = stats["latency_ms"]
    return {
        "People": str(stats["people"]),
        "Rate": f"{stats['fps_out']:.1f} fps (camera {stats['fps_in']:.1f})",
        "Latency": f"{latency['p50']:.0f} ms (p95 {latency['p95']:.0f})",
        "Dropped": str(stats["dropped"]) + (f", {stats['corrupt']} corrupt" if stats["corrupt"] else ""),
        "Filter": str(stats["filter"]),
        "Engine": str(stats["engine"]),
    }


def small_jpeg(image_rgb: RgbImage) -> bytes:
    """A picture in JPEG, at most so large as the page needs it."""
    height, width = image_rgb.shape[:2]
    scale = LONGEST_SIDE_PX / max(width, height)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image_rgb = cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data.tobytes())
