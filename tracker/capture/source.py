"""`FrameSource`: any source behind one interface, decoded in a thread of its own."""

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import get_args

from kinestream.capture.decoder import Decoder, Picture
from kinestream.capture.errors import (
    CaptureError,
    FrameTimeoutError,
    SourceLostError,
    StaleFrameError,
    UnreadableSourceError,
)
from kinestream.capture.frame import Clock, Frame, SourceInfo
from kinestream.capture.frame_queue import FrameQueue, Policy
from kinestream.capture.orientation import UPRIGHT, Orientation
from kinestream.defaults import DEFAULT_RECONNECT_S
from kinestream.kernels.array_types import RgbImage
from kinestream.timing import StageTimes

log = logging.getLogger(__name__)

STUCK_S = 60.0
"""A live source that neither delivers nor fails for so long will not come back."""
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 5.0
TELL_EVERY_S = 60.0
JOIN_TIMEOUT_S = 3.0


class FrameSource:
    """Frames of a camera, file, stream or folder, decoded ahead in a thread.

    Opens at once, so that a missing source is reported here. Decodes from the first read on; a live source
    under ``latest`` at once, so that its frames are those of now. Use it as a context manager; iterate over
    it, or call `read` for the next frame or `read_latest` for the newest one. It is made for one reader.

    How long it waits: a live source whose decoder sees no data for its read time-out (5 s), or that ends, is
    lost; it is opened again and again, with growing pauses, for ``reconnect_s``, and only then an error
    ends it. A file, played fast or at its own speed, may pause as long as it likes.
    At most four decoded frames wait at any time.

    Attributes:
        info: what the source says of itself; newer after a reconnection.
        policy: which frames are handed out.
        clock: what `Frame.t_capture_ns` counts.
        reconnects: how often a lost source was found again.
        stages: how long decoding takes, for files and folders.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        policy: Policy | None = None,
        orientation: Orientation = UPRIGHT,
        reconnect_s: float = DEFAULT_RECONNECT_S,
        wait_s: float | None = None,
    ) -> None:
        """Open ``decoder``.

        Args:
            decoder: the kind of source; see `kinestream.capture.open_source`.
            policy: None means ``latest`` for live sources and ``every`` for files.
            orientation: by which all pictures are turned and mirrored.
            reconnect_s: how long a lost live source is looked for; 0 for ever.
            wait_s: how long one that is not there yet is waited for; 0 for ever, None not at all.

        Raises ``CaptureError`` where the source cannot be opened.
        """
        if policy is not None and policy not in get_args(Policy):
            raise ValueError(f"policy: expected one of {', '.join(get_args(Policy))}, found {policy!r}")
        for name, seconds in (("reconnect_s (--reconnect)", reconnect_s), ("wait_s (--wait)", wait_s or 0)):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{name}: expected seconds, 0 for ever, found {seconds}")
        self._stop = threading.Event()
        self._decoder = decoder
        self._orientation = orientation
        self.info: SourceInfo = self._opened(wait_s)
        self.policy: Policy = policy or ("latest" if self.info.live else "every")
        self.clock: Clock = "monotonic" if self.policy == "paced" else self.info.clock
        self.reconnects = 0
        self._reconnect_s = reconnect_s
        self._queue = FrameQueue(overwrite=self.policy != "every")
        self.stages = StageTimes()
        self._decoded = 0
        self._first: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name=f"decode {decoder.name}", daemon=True)
        self._started = self._asked = False
        self._numbering = threading.Lock()
        self._corrupt_before = 0
        self._alive_ns = time.monotonic_ns()
        self._last_live_ns = 0
        log.info("%s, policy %s", self.info, self.policy)
        if self.info.live and self.policy == "latest":
            self._start()  # what waits unread in a socket would seem to arrive when it is read

    @property
    def dropped(self) -> int:
        """Frames that were decoded and replaced by newer ones before anyone read them."""
        return self._queue.dropped

    @property
    def corrupt(self) -> int:
        """Packets and pictures that could not be decoded."""
        return self._decoder.corrupt

    @property
    def jitter_ms(self) -> float | None:
        """Usual error of a picture's arrival at a live source, None for files and in the beginning."""
        return self._decoder.jitter_ms

    def read(self, *, timeout_ms: float | None = None) -> Frame | None:
        """The next frame by the policy, or None once the source has ended.

        Waits as long as the source is alive, or for ``timeout_ms``. Raises ``FrameTimeoutError`` when none
        comes in time, and ``CaptureError`` when none can come.
        """
        self._ask()
        while True:
            try:
                return self._queue.get(1.0 if timeout_ms is None else timeout_ms / 1000)
            except TimeoutError as error:
                if isinstance(error, CaptureError):
                    raise
            if timeout_ms is not None:
                raise FrameTimeoutError(
                    f"{self.info.name}: no frame within {timeout_ms:.0f} ms; is the camera used by another "
                    "program, or the network slow? Allow more with timeout_ms"
                )
            if self.info.live and time.monotonic_ns() - self._alive_ns > STUCK_S * 1e9:
                raise FrameTimeoutError(
                    f"{self.info.name}: its driver has not answered for {STUCK_S:.0f} s; unplug the "
                    "camera and plug it in again, or start it anew"
                )

    def read_latest(self, *, max_age_ms: float = 500.0, timeout_ms: float = 10_000.0) -> Frame:
        """The newest decoded frame, which `read` still hands out.

        Waits up to ``timeout_ms`` for one that is younger than ``max_age_ms``. Raises
        ``StaleFrameError`` where there is none, and ``CaptureError`` when none can come.
        """
        self._ask()
        frame = self._queue.newest(timeout_ms / 1000, max_age_s=max_age_ms / 1000)
        if frame is None:
            raise StaleFrameError(
                f"{self.info.name}: no frame younger than {max_age_ms:.0f} ms within {timeout_ms:.0f} ms; "
                "has the source stopped? For one that is slow allow more with max_age_ms"
            )
        return frame

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """Stop the thread and free the source; frames that still wait count as dropped."""
        self._stop.set()
        self._queue.end()
        self._queue.discard()
        if not self._started:
            self._decoder.close()
            return
        self._thread.join(JOIN_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("%s: still busy after %.0f s; left to itself", self.info.name, JOIN_TIMEOUT_S)

    def __enter__(self) -> "FrameSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """Source, policy and counters."""
        return f"FrameSource({self.info}; {self.policy}, dropped={self.dropped}, corrupt={self.corrupt})"

    def _ask(self) -> None:
        """Count frames from the first that somebody asks for."""
        if not self._asked:
            with self._numbering:
                self._asked = True
                self._decoded = self._queue.restart()
                self._corrupt_before = self._decoder.corrupt
        self._start()

    def _start(self) -> None:
        if not self._started and not self._stop.is_set():
            self._started = True
            self._thread.start()

    def _run(self) -> None:
        """Body of the thread: decode until the end, the stop or an error that lasts."""
        try:
            while True:
                try:
                    self._decode()
                    break
                except SourceLostError as lost:
                    if not self.info.live or not self._reopened(lost):
                        raise
            if not self._stop.is_set() and self._decoded == 0:
                raise UnreadableSourceError(
                    f"{self.info.name}: not one picture could be decoded ({self.corrupt} damaged packets); "
                    "it may be cut off or encrypted; does a player show it?"
                )
            self._queue.end()
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader must learn of it
            self._queue.end(error)
        finally:
            self._decoder.close()

    def _decode(self) -> None:
        while not self._stop.is_set():
            start_ns = time.perf_counter_ns()
            picture = self._decoder.next_picture()
            self._alive_ns = time.monotonic_ns()
            if picture is None:
                return
            image_rgb = self._orientation.image(picture.image_rgb)
            if not self.info.live:  # of a live source this is mostly the wait for its next picture
                self.stages.add("decode", time.perf_counter_ns() - start_ns)
            t_ready_ns = time.monotonic_ns()
            t_capture_ns = picture.t_capture_ns
            if self.info.live:  # times go on across a reconnection
                t_capture_ns = self._last_live_ns = max(t_capture_ns, self._last_live_ns + 1)
            if self.policy == "paced" and self.info.clock == "media":
                t_capture_ns = self._wait_until_due(picture, t_ready_ns)
                t_ready_ns = max(t_ready_ns, t_capture_ns)
            if self.policy == "every":
                self._queue.put(self._numbered(t_capture_ns, t_ready_ns, image_rgb))  # may wait for room
            else:
                with self._numbering:
                    self._queue.put(self._numbered(t_capture_ns, t_ready_ns, image_rgb))

    def _numbered(self, t_capture_ns: int, t_ready_ns: int, image_rgb: RgbImage) -> Frame:
        index = self._decoded + self._decoder.corrupt - self._corrupt_before
        self._decoded += 1
        return Frame(index, t_capture_ns, t_ready_ns, image_rgb)

    def _wait_until_due(self, picture: Picture, now_ns: int) -> int:
        """Sleep until a camera would have taken this picture; returns that time."""
        if self._first is None:
            self._first = (now_ns, picture.t_capture_ns)
        started_ns, first_ns = self._first
        due_ns = started_ns + picture.t_capture_ns - first_ns
        self._stop.wait(max(0, due_ns - now_ns) / 1e9)
        return due_ns

    def _reopened(self, lost: SourceLostError) -> bool:
        """Open the source again; False when stopped. Raises ``SourceLostError`` in the end."""
        self._decoder.close()
        lost_s = time.monotonic()
        log.warning("%s; trying to reconnect %s", lost, _how_long(self._reconnect_s))
        try:
            info = self._tried(self._reconnect_s, lost, FIRST_BACKOFF_S)
        except CaptureError as error:
            raise SourceLostError(
                f"{self.info.name}: lost, and not back within {self._reconnect_s:.0f} s ({error}); "
                "--reconnect 0 tries for ever"
            ) from lost
        if info is None:
            return False
        self.info = info
        self.reconnects += 1
        log.warning("%s: connected again after %.0f s", self.info.name, time.monotonic() - lost_s)
        return True

    def _opened(self, wait_s: float | None) -> SourceInfo:
        """Open the source for the first time."""
        if wait_s is None:
            return self._turned(self._decoder.open())
        if not self._decoder.remote:
            raise ValueError(
                f"wait_s (--wait): is for cameras and addresses, found {self._decoder.name}; leave it out"
            )
        try:
            return self._turned(self._decoder.open())
        except CaptureError as error:
            log.warning("%s; waiting for it %s", error, _how_long(wait_s))
            info = self._tried(wait_s, error, FIRST_BACKOFF_S)
            assert info is not None, "nobody can stop what is not made yet"
            return info

    def _tried(self, limit_s: float, reason: CaptureError, pause_s: float) -> SourceInfo | None:
        """Open the source until it works; None when stopped. Raises the last reason after ``limit_s``."""
        start = told = time.monotonic()
        while (left_s := (start + limit_s - time.monotonic()) if limit_s else math.inf) > 0:
            self._alive_ns = time.monotonic_ns()
            if self._stop.wait(min(pause_s, left_s)):
                return None
            pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)
            try:
                return self._turned(self._decoder.open())
            except CaptureError as error:
                reason = error
            self._decoder.close()
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                log.warning("%s: still away after %.0f s (%s)", self._decoder.name, told - start, reason)
        raise reason

    def _turned(self, info: SourceInfo) -> SourceInfo:
        width, height = self._orientation.size(info.width_px, info.height_px)
        geometry = dataclasses.replace(info.geometry, chosen=self._orientation)
        return dataclasses.replace(info, width_px=width, height_px=height, geometry=geometry)


def _how_long(seconds: float) -> str:
    return f"for {seconds:.0f} s" if seconds else "for ever; Ctrl-C ends it"
