"""The sending end of the stream."""

import functools
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from kinestream.defaults import DEFAULT_ENDPOINT
from kinestream.pose import Clock, PoseFrame
from kinestream.redact import mask_secrets
from kinestream.stream.axes import OutputFrame
from kinestream.stream.base_publisher import BasePublisher
from kinestream.stream.binding import Binding
from kinestream.stream.message import (
    HeartbeatMessage,
    Message,
    PoseMessage,
    StatsMessage,
    StreamIdentity,
    encode,
)
from kinestream.stream.websocket import WebSocketServer

HEARTBEAT_S: Final = 1.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Publisher(BasePublisher):
    """Sends poses to any number of subscribers and never waits for one.

    A heartbeat follows every second from a thread of its own. Use it as a context manager. `publish` and
    `publish_stats` may be called from any thread.

    Attributes:
        websocket: sends the same messages to browsers, or None.
    """

    def __init__(
        self,
        bind: str = DEFAULT_ENDPOINT,
        *,
        source: str = "",
        insecure: bool = False,
        keys: str | Path | None = None,
        on_busy: Literal["raise", "retry"] = "raise",
        heartbeat_s: float | None = HEARTBEAT_S,
        on_message: Callable[[Message, bytes], None] | None = None,
        output: OutputFrame | None = None,
        vertices: bool = False,
        websocket: WebSocketServer | None = None,
    ) -> None:
        """Bind the address.

        Args:
            bind: ZeroMQ endpoint, ``tcp://host:port`` (port 0 takes a free one) or ``ipc://path``.
            source: what is tracked, for people to read.
            insecure: allow an address that other computers reach, without keys. Anybody there can read the
                poses.
            keys: folder of a publisher's keys (`kinestream.stream.keys`): the stream is encrypted, and only
                those listen who are allowed there.
            on_busy: what to do when another program has the address: raise, or say so once, go on without
                subscribers and try again at each heartbeat.
            heartbeat_s: seconds between heartbeats, None for none.
            on_message: gets every message with its bytes as it is sent, also while nobody can connect
                (`Recorder.add`).
            output: the frame of reference in which poses leave; by default the camera's.
            vertices: send the mesh of frames that have one; it takes forty times the room of all the rest.
            websocket: sends the same messages, also while nobody can connect here; closed with this.

        Raises ``BindError``, and ``KeysError`` for the folder.
        """
        self._binding = Binding(bind, insecure=insecure, keys=keys, on_busy=on_busy)
        super().__init__(new_identity(source), self._binding.endpoint, output, vertices=vertices)
        self.websocket = websocket
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.on_message = on_message
        self._heartbeat_s = heartbeat_s
        self._thread = threading.Thread(target=self._beat, name="kinestream heartbeat", daemon=True)
        if heartbeat_s is not None:
            self._thread.start()

    @property
    def bound(self) -> bool:
        """Whether subscribers can connect."""
        return self._binding.bound

    @property
    def places(self) -> str:
        """Everywhere it goes, for people to read."""
        return self.endpoint if self.websocket is None else f"{self.endpoint} and {self.websocket.address}"

    @property
    def refused(self) -> int:
        """How many attempts to listen were turned away for want of a key."""
        return self._binding.guard.refusals.count if self._binding.guard else 0

    def publish(
        self, frame: PoseFrame, *, clock: Clock, lead_ns: int = 0, dropped: int = 0, corrupt: int = 0
    ) -> PoseMessage:
        """Send a frame; see `BasePublisher.publish`."""
        with self._lock:
            message = self._next_message(frame, clock, lead_ns, dropped, corrupt)
            self._send(message)
        return message

    def publish_stats(self, values: dict[str, Any]) -> None:
        """Send how the tracker is doing; ``values`` holds numbers, strings and maps of them."""
        with self._lock:
            self._send(StatsMessage(identity=self.identity, t_publish_ns=time.monotonic_ns(), values=values))

    def publish_encoded(self, data: bytes) -> None:
        """Send a message that is encoded already, as it is."""
        with self._lock:
            self._send_bytes(data)

    def close(self) -> None:
        """Stop the heartbeat and free the address."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2)
        with self._lock:
            self._binding.close()
            if self.websocket is not None:
                self.websocket.close()

    def __enter__(self) -> "Publisher":
        return self

    def _send(self, message: Message) -> None:
        """Call with the lock held; ZeroMQ sockets are not made for several threads at once."""
        if not self._binding.bound and self.on_message is None and self.websocket is None:
            return
        data = encode(message)
        self._send_bytes(data)
        if self.on_message is not None:
            self.on_message(message, data)

    def _send_bytes(self, data: bytes) -> None:
        self._binding.send(data)
        if self.websocket is not None:
            self.websocket.send(data)

    def _beat(self) -> None:
        """Body of the heartbeat thread."""
        while True:
            with self._lock:
                self._binding.retry()
                self.endpoint = self._binding.endpoint
                self._send(
                    HeartbeatMessage(
                        identity=self.identity,
                        next_sequence=self.sequence,
                        t_publish_ns=time.monotonic_ns(),
                        t_unix_ns=time.time_ns(),
                    )
                )
            if self._stop.wait(self._heartbeat_s):
                return


def new_identity(source: str) -> StreamIdentity:
    """For a stream that starts now on this computer; passwords in ``source`` do not leave it."""
    return StreamIdentity(stream_id=uuid.uuid4().hex, clock_id=clock_id(), source=mask_secrets(source))


@functools.cache
def clock_id() -> str:
    """Names this boot of this computer where the system tells, else this process."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return uuid.uuid4().hex
