"""Writes a stream to a file that survives: MCAP, append-only, complete up to the last tenth of a second.

The file holds the messages exactly as they were sent, and beside them what robotics tools draw: skeletons,
calibration and, on request, the pictures. docs/recording.md lists the channels.
"""

import contextlib
import logging
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import RgbImage
from kinestream.redact import mask_secrets
from kinestream.stream import foxglove
from kinestream.stream.message import SCHEMA_VERSION, HeartbeatMessage, Message, PoseMessage

log = logging.getLogger(__name__)

FLUSH_S: Final = 0.1
"""A process that is killed loses no more than what came within this time."""
QUEUED_MESSAGES: Final = 256
QUEUED_PICTURES: Final = 8
JPEG_QUALITY: Final = 85

WIRE_TOPICS: Final = ("pose", "heartbeat", "stats")
IMAGE_TOPIC: Final = "/camera/image"
_DRAWN: Final = {
    "/people": "foxglove.SceneUpdate",
    "/tf": "foxglove.FrameTransform",
    "/camera/calibration": "foxglove.CameraCalibration",
    IMAGE_TOPIC: "foxglove.CompressedImage",
}


class RecordingError(OSError):
    """A recording cannot be written or read; the message names the file and says why."""


@dataclass(frozen=True)
class _Wire:
    data: bytes
    message: Message


@dataclass(frozen=True)
class _Picture:
    image_rgb: RgbImage
    t_capture_ns: int


class Recorder:
    """Takes messages and pictures from any thread; a thread of its own encodes and writes them.

    Pass `add` to a publisher or subscriber as ``on_message``. Use it as a context manager.

    Attributes:
        path: the file.
        error: what stopped the recording, None while all is well. What was written until then stays readable.
        dropped: messages and pictures left out because the disk could not keep up (never with ``wait``).
    """

    def __init__(self, path: str | Path, *, source: str = "", wait: bool = False) -> None:
        """Create the file, which must not exist.

        Args:
            path: the file, usually ``*.mcap``.
            source: what is recorded, for people to read.
            wait: let the caller wait for a slow disk instead of leaving messages out; for sources that
                can wait.

        Raises ``RecordingError`` where the file exists or cannot be created, ``ImportError`` naming the extra
        where MCAP is not installed.
        """
        require_mcap()
        self.path = Path(path)
        self.error: OSError | None = None
        self.dropped = 0
        self._wait = wait
        try:
            self._file: BinaryIO = open(self.path, "xb")
        except FileExistsError:
            raise _exists(self.path) from None
        self._queue: queue.Queue[_Wire | _Picture | None] = queue.Queue(QUEUED_MESSAGES)
        self._pictures = threading.BoundedSemaphore(QUEUED_PICTURES)
        self._closed = False
        self._thread = threading.Thread(
            target=self._run, args=(source,), name="kinestream recorder", daemon=True
        )
        self._thread.start()

    def add(self, message: Message, data: bytes) -> None:
        """Record a message, with its bytes as sent; ignored once the recording is closed or has failed."""
        self._put(_Wire(data, message))

    def add_picture(self, image_rgb: RgbImage, t_capture_ns: int) -> None:
        """Record a picture (H, W, 3), which must not change afterwards, beside the newest pose."""
        if self._closed or self.error is not None:
            return
        if self._pictures.acquire(blocking=self._wait):
            self._put(_Picture(image_rgb, t_capture_ns))
        else:
            self._count_drop()

    def close(self) -> None:
        """Write what waits, the index and the end; may be called twice. Raises ``OSError`` if that fails."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, item: _Wire | _Picture) -> None:
        if self._closed or self.error is not None:
            return
        try:
            self._queue.put(item, block=self._wait)
        except queue.Full:
            if isinstance(item, _Picture):
                self._pictures.release()
            self._count_drop()

    def _count_drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            log.warning("%s: the disk does not keep up; some messages are not recorded", self.path)

    def _run(self, source: str) -> None:
        """Body of the thread. After a fault it goes on emptying the queue, so that nobody waits for it."""
        complete = False
        try:
            with self._file:
                self._record(source)
            complete = True
        except OSError as error:
            reason = error.strerror or error
            self.error = RecordingError(f"{self.path}: {reason}")
        finally:
            if not complete and self.error is None:
                self.error = RecordingError(f"{self.path}: stopped by an unexpected fault, see above")
            while not self._closed or not self._queue.empty():
                with contextlib.suppress(queue.Empty):
                    self._discard(self._queue.get(timeout=FLUSH_S))

    def _record(self, source: str) -> None:
        writer = _McapWriter(self._file, source)
        flushed_s = time.monotonic()
        item: _Wire | _Picture | None = None
        while True:
            try:
                left_s = flushed_s + FLUSH_S - time.monotonic()
                item = self._queue.get(timeout=max(left_s, 0.001))
            except queue.Empty:
                pass
            else:
                if item is None:
                    break
                try:
                    writer.write(item)
                finally:
                    self._discard(item)
            if time.monotonic() - flushed_s >= FLUSH_S:
                writer.flush()
                flushed_s = time.monotonic()
        writer.finish()

    def _discard(self, item: _Wire | _Picture | None) -> None:
        if isinstance(item, _Picture):
            self._pictures.release()


class _McapWriter:
    """The layout of the file; used by one thread."""

    def __init__(self, file: BinaryIO, source: str) -> None:
        from mcap.writer import Writer

        self._file = file
        self._writer: Any = Writer(file)  # its methods are not typed
        self._writer.start(library="kinestream")
        self._writer.add_metadata(
            "kinestream", {"source": mask_secrets(source), "schema_version": str(SCHEMA_VERSION)}
        )
        self._channels: dict[str, int] = {}
        self._timeline = _Timeline()
        self._stance = (0.0, 0.0, 0.0)  # of the camera: tilt, roll, height
        self._camera: Camera | None = None
        self._written: Camera | None = None
        file.flush()

    def write(self, item: _Wire | _Picture) -> None:
        if isinstance(item, _Picture):
            self._write_picture(item)
            return
        message = item.message
        t_log_ns = self._timeline.place(message)
        topic, _, packed = item.data.partition(b"\0")
        channel = self._wire_channel(topic.decode())
        sequence = message.sequence if isinstance(message, PoseMessage) else 0
        self._writer.add_message(
            channel, t_log_ns, packed, self._timeline.unix_ns(message.t_publish_ns), sequence & 0xFFFFFFFF
        )
        if isinstance(message, PoseMessage):
            self._camera = message.frame.camera
            t_capture_ns = self._timeline.capture_ns(message.frame.t_capture_ns)
            frame = message.output.restore(message.frame)
            self._draw("/people", foxglove.scene_update(frame, t_capture_ns))
            ground = message.frame.ground
            height_m = ground.height_m if ground is not None else 0.0
            stance = message.output.tilt_rad, message.output.roll_rad, height_m
            moved, self._stance = stance != self._stance, stance
            if moved or "/tf" not in self._channels:
                self._draw_camera()
        elif isinstance(message, HeartbeatMessage):
            self._draw_camera()

    def flush(self) -> None:
        self._writer.flush()

    def finish(self) -> None:
        self._writer.finish()
        self._file.flush()

    def _write_picture(self, picture: _Picture) -> None:
        import cv2

        _, jpeg = cv2.imencode(
            ".jpg",
            cv2.cvtColor(picture.image_rgb, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
        )
        t_ns = self._timeline.capture_ns(picture.t_capture_ns)
        if self._camera is not None and self._camera != self._written:
            self._draw("/camera/calibration", foxglove.camera_calibration(self._camera, t_ns))
            self._written = self._camera
        self._draw(IMAGE_TOPIC, foxglove.compressed_image(jpeg.tobytes(), t_ns))

    def _draw_camera(self) -> None:
        t_ns = self._timeline.newest_ns
        self._draw("/tf", foxglove.world_from_camera(t_ns, *self._stance))

    def _draw(self, topic: str, data: bytes) -> None:
        t_ns = self._timeline.newest_ns
        if topic not in self._channels:
            name = _DRAWN[topic]
            schema = self._writer.register_schema(name, "jsonschema", foxglove.schema_bytes(name))
            self._channels[topic] = self._writer.register_channel(topic, "json", schema)
        self._writer.add_message(self._channels[topic], t_ns, data, t_ns)

    def _wire_channel(self, topic: str) -> int:
        if topic not in self._channels:
            schema = self._writer.register_schema(f"kinestream.{topic}.v{SCHEMA_VERSION}", "", b"")
            self._channels[topic] = self._writer.register_channel(
                topic, "msgpack", schema, {"schema": "docs/wire.md", "wire": "topic, zero byte, this message"}
            )
        return self._channels[topic]


class _Timeline:
    """Places messages on the wall clock as it was at the start, so that steps of that clock do no harm.

    Frames of a file lie at their own times within it, whatever the speed at which they were tracked.
    """

    def __init__(self) -> None:
        self.newest_ns = 0
        self._stream_id = ""
        self._unix_offset_ns = 0
        self._media_offset_ns: int | None = None

    def place(self, message: Message) -> int:
        """When the message happens in the recording; never before the one before."""
        if message.identity.stream_id != self._stream_id:
            self._stream_id = message.identity.stream_id
            self._unix_offset_ns = time.time_ns() - message.t_publish_ns
            self._media_offset_ns = None
        if isinstance(message, PoseMessage) and message.clock == "media":
            if self._media_offset_ns is None:
                start_ns = max(self.newest_ns, self.unix_ns(message.t_publish_ns))
                self._media_offset_ns = start_ns - message.frame.t_capture_ns
            t_ns = message.frame.t_capture_ns + self._media_offset_ns
            if t_ns < self.newest_ns:  # the file starts again
                self._media_offset_ns += self.newest_ns - t_ns
        elif self._media_offset_ns is not None:
            t_ns = self.newest_ns
        else:
            t_ns = self.unix_ns(message.t_publish_ns)
        self.newest_ns = max(self.newest_ns, t_ns)
        return self.newest_ns

    def unix_ns(self, t_monotonic_ns: int) -> int:
        """A time on the publisher's monotonic clock."""
        return max(0, t_monotonic_ns + self._unix_offset_ns)

    def capture_ns(self, t_capture_ns: int) -> int:
        """When a picture was taken, by the clock of the newest pose."""
        if self._media_offset_ns is None:
            return self.unix_ns(t_capture_ns)
        return max(0, t_capture_ns + self._media_offset_ns)


def check_recordable(path: str | Path) -> None:
    """Tell beforehand why a recording cannot be made at ``path``; raises as `Recorder` does."""
    require_mcap()
    path = Path(path)
    if path.exists():
        raise _exists(path)
    if not path.parent.is_dir():
        raise RecordingError(f"{path}: there is no folder {path.parent}; make it first")


def _exists(path: Path) -> RecordingError:
    return RecordingError(
        f"{path}: exists, and a recording is never overwritten; choose another name or remove it"
    )


def require_mcap() -> None:
    """Raise ``ImportError`` naming the extra unless the MCAP library is there."""
    try:
        import mcap.writer  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "recordings need the MCAP library; install it with: pip install 'kinestream[record]'"
        ) from error
