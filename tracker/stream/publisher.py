"""The sending end of the stream."""

import ipaddress
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import zmq

from tracker.capture.frame import Clock
from tracker.pose import PoseFrame
from tracker.stream.message import (
    HeartbeatMessage,
    Message,
    PoseMessage,
    StatsMessage,
    StreamIdentity,
    encode,
)

log = logging.getLogger(__name__)

DEFAULT_ENDPOINT: Final = "tcp://127.0.0.1:5556"
HEARTBEAT_S: Final = 1.0
QUEUED_MESSAGES: Final = 32
"""Per subscriber; a slow one then loses messages and slows nobody."""
LINGER_MS: Final = 200

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class BindError(OSError):
    """The address cannot be bound; the message says why and what to do."""


class InsecureBindError(BindError):
    """The address is reachable by others, and nothing protects the stream."""


class Publisher:
    """Sends poses to any number of subscribers and never waits for one.

    A heartbeat follows every second from a thread of its own. Use it as a context manager. `publish` and
    `publish_stats` may be called from any thread.
    """

    def __init__(
        self,
        bind: str = DEFAULT_ENDPOINT,
        *,
        source: str = "",
        insecure: bool = False,
        on_busy: Literal["raise", "retry"] = "raise",
        heartbeat_s: float | None = HEARTBEAT_S,
        on_message: Callable[[Message, bytes], None] | None = None,
    ) -> None:
        """Bind the address.

        Args:
            bind: ZeroMQ endpoint, ``tcp://host:port`` (port 0 takes a free one) or ``ipc://path``.
            source: what is tracked, for people to read.
            insecure: allow an address that other computers reach. Anybody there can read the poses.
            on_busy: what to do when another program has the address: raise, or say so once, go on without
                subscribers and try again at each heartbeat.
            heartbeat_s: seconds between heartbeats, None for none.
            on_message: gets every message with its bytes as it is sent, also while nobody can connect
                (`Recorder.add`).

        Raises ``BindError``.
        """
        if not insecure:
            _refuse_public(bind)
        self.identity = StreamIdentity(stream_id=uuid.uuid4().hex, clock_id=clock_id(), source=source)
        self.endpoint = bind
        self.sequence = 0
        self._bound = False
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
        self._socket.set_hwm(QUEUED_MESSAGES)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        try:
            self._bind()
        except BindError as error:
            if on_busy == "raise" or getattr(error.__cause__, "errno", None) != zmq.EADDRINUSE:
                self._socket.close()
                raise
            log.warning("%s; tracking goes on without subscribers until it is free", error)
        self.on_message = on_message
        self._heartbeat_s = heartbeat_s
        self._thread = threading.Thread(target=self._beat, name="kinestream heartbeat", daemon=True)
        if heartbeat_s is not None:
            self._thread.start()

    @property
    def bound(self) -> bool:
        """Whether subscribers can connect."""
        return self._bound

    def publish(
        self, frame: PoseFrame, *, clock: Clock, lead_ns: int = 0, dropped: int = 0, corrupt: int = 0
    ) -> PoseMessage:
        """Send a frame; returns the message that was sent.

        Args:
            frame: the people.
            clock: what ``frame.t_capture_ns`` counts.
            lead_ns: how far ahead of that the poses are predicted.
            dropped: frames of the source that were skipped so far.
            corrupt: those that were damaged.
        """
        with self._lock:
            message = PoseMessage(
                identity=self.identity,
                sequence=self.sequence,
                t_publish_ns=time.monotonic_ns(),
                clock=clock,
                lead_ns=lead_ns,
                dropped=dropped,
                corrupt=corrupt,
                frame=frame,
            )
            self.sequence += 1
            self._send(message)
        return message

    def publish_stats(self, values: dict[str, Any]) -> None:
        """Send how the tracker is doing; ``values`` holds numbers, strings and maps of them."""
        with self._lock:
            self._send(StatsMessage(identity=self.identity, t_publish_ns=time.monotonic_ns(), values=values))

    def publish_encoded(self, data: bytes) -> None:
        """Send a message that is encoded already, as it is."""
        with self._lock:
            if self._bound:
                self._socket.send(data, zmq.NOBLOCK)

    def close(self) -> None:
        """Stop the heartbeat and free the address."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2)
        with self._lock:
            self._bound = False
            self._socket.close()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, message: Message) -> None:
        """Call with the lock held; ZeroMQ sockets are not made for several threads at once."""
        if not self._bound and self.on_message is None:
            return
        data = encode(message)
        if self._bound:
            self._socket.send(data, zmq.NOBLOCK)
        if self.on_message is not None:
            self.on_message(message, data)

    def _bind(self) -> None:
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            reason = "is in use by another program" if error.errno == zmq.EADDRINUSE else f"fails: {error}"
            raise BindError(
                f"{self.endpoint} {reason}; stop that program or choose another address with bind "
                "(--bind tcp://127.0.0.1:5557)"
            ) from error
        self.endpoint = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        self._bound = True
        log.info("publishing on %s", self.endpoint)

    def _beat(self) -> None:
        """Body of the heartbeat thread."""
        while True:
            with self._lock:
                if not self._bound:
                    try:
                        self._bind()
                    except BindError as error:
                        log.debug("%s", error)
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


def _refuse_public(endpoint: str) -> None:
    """Raise unless only this computer reaches the endpoint."""
    scheme, _, rest = endpoint.partition("://")
    if scheme in ("ipc", "inproc"):
        return
    match = re.fullmatch(r"\[?([^\]]*?)\]?:(\d+|\*)", rest)
    if scheme != "tcp" or match is None:
        raise BindError(
            f"{endpoint!r} is no address to publish on; expected tcp://127.0.0.1:5556 or ipc://path"
        )
    host = match.group(1)
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host in ("localhost", "lo")
    if not local:
        raise InsecureBindError(
            f"{endpoint} can be reached from other computers, and anybody there could read the poses; "
            "publish on tcp://127.0.0.1:5556, or allow it with insecure=True (--insecure)"
        )


def clock_id() -> str:
    """Names this boot of this computer where the system tells, else this process."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return uuid.uuid4().hex
