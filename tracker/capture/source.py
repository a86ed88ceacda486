"""`FrameSource`: any source behind one interface, decoded in a thread of its own."""

import logging
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
from kinestream.timing import StageTimes

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 5.0
JOIN_TIMEOUT_S = 3.0


class FrameSource:
    """Frames of a camera, file, stream or folder, decoded ahead in a thread.

    Opens at once, so that a missing source is reported here; decodes from the first read on. Use it as
    a context manager; iterate over it, or call `read` for the next frame or `read_latest` for a look at
    the newest one. It is made for one reader.

    A live source that breaks off is opened again and again, with growing pauses, for ``reconnect_s``.
    At most four decoded frames wait at any time.

    Attributes:
        info: what the source says of itself; newer after a reconnection.
        policy: which frames are handed out.
        clock: what `Frame.t_capture_ns` counts.
        reconnects: how often a lost source was found again.
        stages: how long decoding takes, for files and folders.
    """

    def __init__(self, decoder: Decoder, *, policy: Policy | None = None, reconnect_s: float = 60.0) -> None:
        """Open ``decoder``.

        Args:
            decoder: the kind of source; see `kinestream.capture.open_source`.
            policy: None means ``latest`` for live sources and ``every`` for files.
            reconnect_s: how long a lost live source is looked for.

        Raises ``CaptureError`` where the source cannot be opened.
        """
        if policy is not None and policy not in get_args(Policy):
            raise ValueError(f"policy: expected one of {', '.join(get_args(Policy))}, found {policy!r}")
        self.info: SourceInfo = decoder.open()
        self.policy: Policy = policy or ("latest" if self.info.live else "every")
        self.clock: Clock = "monotonic" if self.policy == "paced" else self.info.clock
        self.reconnects = 0
        self._decoder = decoder
        self._reconnect_s = reconnect_s
        self._queue = FrameQueue(overwrite=self.policy != "every")
        self._stop = threading.Event()
        self.stages = StageTimes()
        self._decoded = 0
        self._first: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name=f"decode {decoder.name}", daemon=True)
        self._started = False
        log.info("%s, policy %s", self.info, self.policy)

    @property
    def dropped(self) -> int:
        """Frames that were decoded and replaced by newer ones before anyone read them."""
        return self._queue.dropped

    @property
    def corrupt(self) -> int:
        """Packets and pictures that could not be decoded."""
        return self._decoder.corrupt

    def read(self, *, timeout_ms: float = 10_000.0) -> Frame | None:
        """The next frame by the policy, or None once the source has ended.

        Raises ``FrameTimeoutError`` when none comes in time, and ``CaptureError`` when none can come.
        """
        self._start()
        try:
            return self._queue.get(timeout_ms / 1000)
        except TimeoutError as error:
            if isinstance(error, CaptureError):
                raise
            raise FrameTimeoutError(
                f"{self.info.name}: no frame within {timeout_ms:.0f} ms; is the camera covered by another "
                "program, or the network slow? Allow more with timeout_ms"
            ) from None

    def read_latest(self, *, max_age_ms: float = 500.0, timeout_ms: float = 10_000.0) -> Frame:
        """The newest decoded frame, which `read` still hands out.

        Waits up to ``timeout_ms`` for one that is younger than ``max_age_ms``. Raises
        ``StaleFrameError`` where there is none, and ``CaptureError`` when none can come.
        """
        self._start()
        frame = self._queue.newest(timeout_ms / 1000, max_age_s=max_age_ms / 1000)
        if frame is None:
            raise StaleFrameError(
                f"{self.info.name}: no frame younger than {max_age_ms:.0f} ms within {timeout_ms:.0f} ms"
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
                    "the file may be cut off or encrypted"
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
            if picture is None:
                return
            if not self.info.live:  # of a live source this is mostly the wait for its next picture
                self.stages.add("decode", time.perf_counter_ns() - start_ns)
            index = self._decoded + self._decoder.corrupt
            self._decoded += 1
            t_ready_ns = time.monotonic_ns()
            t_capture_ns = picture.t_capture_ns
            if self.policy == "paced" and self.info.clock == "media":
                t_capture_ns = self._wait_until_due(picture, t_ready_ns)
                t_ready_ns = max(t_ready_ns, t_capture_ns)
            self._queue.put(Frame(index, t_capture_ns, t_ready_ns, picture.image_rgb))

    def _wait_until_due(self, picture: Picture, now_ns: int) -> int:
        """Sleep until a camera would have taken this picture; returns that time."""
        if self._first is None:
            self._first = (now_ns, picture.t_capture_ns)
        started_ns, first_ns = self._first
        due_ns = started_ns + picture.t_capture_ns - first_ns
        self._stop.wait(max(0, due_ns - now_ns) / 1e9)
        return due_ns

    def _reopened(self, lost: SourceLostError) -> bool:
        """Try to open the source again; False when stopped. Raises ``SourceLostError`` in the end."""
        log.warning("%s; trying to reconnect for %.0f s", lost, self._reconnect_s)
        deadline = time.monotonic() + self._reconnect_s
        pause_s = FIRST_BACKOFF_S
        reason: CaptureError = lost
        while time.monotonic() < deadline:
            self._decoder.close()
            if self._stop.wait(min(pause_s, max(0.0, deadline - time.monotonic()))):
                return False
            pause_s = min(2 * pause_s, LONGEST_BACKOFF_S)
            try:
                self.info = self._decoder.open()
            except CaptureError as error:
                reason = error
                continue
            self.reconnects += 1
            log.warning("%s: connected again", self.info.name)
            return True
        raise SourceLostError(
            f"{self.info.name}: lost, and not back within {self._reconnect_s:.0f} s ({reason})"
        ) from lost
