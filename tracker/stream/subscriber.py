"""The receiving end of the stream.

from kinestream import Subscriber

for message in Subscriber("tcp://127.0.0.1:5556"):
    for person in message.frame:
        print(person.track_id, person.joints_cam_m)
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TypeAlias

import zmq
import zmq.asyncio

from kinestream.defaults import DEFAULT_ENDPOINT
from kinestream.stream.endpoint import SILENCE_MS, EndpointError, prepare
from kinestream.stream.keys import ClientKeys
from kinestream.stream.message import (
    MAX_MESSAGE_BYTES,
    HeartbeatMessage,
    Message,
    MessageError,
    PoseMessage,
    StatsMessage,
    decode,
)

log = logging.getLogger(__name__)

QUIET_S: Final = 30.0
"""What arrives and cannot be read is named again only after this long."""
Condition: TypeAlias = Literal["alive", "silent", "unreadable", "unheard"]
"""``alive``: something that can be read came within the last 3 s. ``silent``: it did before.
``unreadable``: what comes breaks the schema. ``unheard``: nothing has come yet."""
SUSPENDED_S: Final = 0.1
"""A wait that ends this late was that of a process which was stopped; it then lasts this much longer."""


class StreamTimeoutError(TimeoutError):
    """Nothing came within the time allowed."""


class Subscriber:
    """Reads a pose stream; iterate over it, with ``for`` or ``async for``, or call `receive`.

    Messages that break the schema are dropped, counted and named now and then, unless asked to be raised.
    A publisher that vanishes without a word, as by a power loss, is noticed within 4 s and found again.

    Attributes:
        heartbeat: the newest heartbeat, None before the first.
        stats: the newest statistics of the tracker, None before the first.
        received: pose messages taken in.
        missed: pose messages that were sent but did not arrive, by gaps in the sequence.
        malformed: messages that did not follow the schema.
        last_error: what is wrong with the newest of those, empty before the first.
    """

    def __init__(
        self,
        connect: str = DEFAULT_ENDPOINT,
        *,
        latest: bool = False,
        timeout_ms: float | None = None,
        raise_malformed: bool = False,
        on_message: Callable[[Message, bytes], None] | None = None,
        keys: str | Path | None = None,
    ) -> None:
        """Connect to a publisher, which need not run yet.

        Args:
            connect: its address.
            latest: skip to the newest message whenever several wait.
            timeout_ms: longest wait for a message, None for ever.
            raise_malformed: raise ``MessageError`` instead of counting.
            on_message: gets every good message of any topic with its bytes as received (`Recorder.add`).
            keys: folder of a listener's keys (`kinestream.stream.keys`), for a publisher with keys.

        Raises ``ValueError`` for an impossible address or key.
        """
        client = ClientKeys.load(keys) if keys is not None else None
        self.endpoint = connect
        self.heartbeat: HeartbeatMessage | None = None
        self.stats: StatsMessage | None = None
        self.received = self.missed = self.malformed = 0
        self.last_error = ""
        self._heard_s: float | None = None
        self._named_s: float | None = None
        self._latest = latest
        self._timeout_ms = timeout_ms
        self._raise = raise_malformed
        self._on_message = on_message
        self._stream_id = ""
        self._expected = 0
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._protected = client is not None
        if client is not None:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, client.publisher)
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, client.public)
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, client.secret)
        self._socket.subscribe(b"")
        try:
            prepare(self._socket, connect)
            self._socket.connect(connect)
        except (zmq.ZMQError, EndpointError) as error:
            self._socket.close()
            raise ValueError(f"{connect!r} is no address to connect to: {error}") from None

    def receive(self, *, timeout_ms: float | None = None) -> PoseMessage:
        """The next pose message, or the newest one with ``latest``.

        Raises ``StreamTimeoutError`` after ``timeout_ms``, by default that of the subscriber. What came
        in time is returned, also where this process was stopped until long after.
        """
        limit_ms = self._timeout_ms if timeout_ms is None else timeout_ms
        deadline = _Deadline(limit_ms)
        while True:
            if self._socket.poll(deadline.left_ms()):
                message = self._take()
                if message is not None:
                    return message
            elif deadline.passed():
                raise self.silence(limit_ms)

    def __iter__(self) -> Iterator[PoseMessage]:
        while True:
            yield self.receive()

    async def __aiter__(self) -> AsyncIterator[PoseMessage]:
        waiting = zmq.asyncio.Socket(shadow=self._socket)
        try:
            deadline = _Deadline(self._timeout_ms)
            while True:
                if await waiting.poll(deadline.left_ms()):
                    message = self._take()
                    if message is not None:
                        yield message
                        deadline = _Deadline(self._timeout_ms)
                elif deadline.passed():
                    raise self.silence(self._timeout_ms)
        finally:
            waiting.close()

    @property
    def condition(self) -> Condition:
        """What is known of the publisher by what came last, see `Condition`."""
        if self._heard_s is not None and time.monotonic() - self._heard_s < SILENCE_MS / 1000:
            return "alive"
        if self.malformed:
            return "unreadable"
        return "unheard" if self._heard_s is None else "silent"

    def describe(self) -> str:
        """The `condition` in words, with what to do."""
        condition = self.condition
        if condition == "alive":
            return "the publisher is alive"
        if condition == "unreadable":
            return (
                f"what arrives there cannot be read ({self.malformed} messages so far): {self.last_error}; "
                "is it a pose stream, of a Kinestream of the same age?"
            )
        if condition == "silent":
            return (
                f"the publisher has been silent for {time.monotonic() - (self._heard_s or 0):.0f} s; is its "
                "computer on and connected? It is found again by itself"
            )
        keys = ", with these keys allowed" if self._protected else " (and without asking for keys)"
        return f"is `kinestream run` running and publishing there{keys}?"

    def silence(self, limit_ms: float | None) -> StreamTimeoutError:
        """The error that no pose came within ``limit_ms``."""
        but = " although" if self.condition == "alive" else ";"
        return StreamTimeoutError(f"{self.endpoint}: no pose within {limit_ms:.0f} ms{but} {self.describe()}")

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def unix_ns(self, t_monotonic_ns: int) -> int | None:
        """A time of the publisher's monotonic clock on its wall clock (since 1970, UTC).

        Wall clocks are what different computers have in common. None before the first heartbeat.
        """
        heartbeat = self.heartbeat
        if heartbeat is None:
            return None
        return t_monotonic_ns - heartbeat.t_publish_ns + heartbeat.t_unix_ns

    def _take(self) -> PoseMessage | None:
        """A waiting pose message, the last of them with ``latest``; None if there was none among them."""
        newest: PoseMessage | None = None
        while True:
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return newest
            more = self._socket.getsockopt(zmq.RCVMORE)
            message = self._read(data, multipart=bool(more))
            newest = message or newest
            if newest is not None and not self._latest:
                return newest

    def _read(self, data: bytes, *, multipart: bool) -> PoseMessage | None:
        try:
            if multipart:
                while self._socket.getsockopt(zmq.RCVMORE):
                    self._socket.recv()
                raise MessageError(
                    "found several parts, expected one; is this the address of another program?"
                )
            message = decode(data)
        except MessageError as error:
            self._note_malformed(error)
            if self._raise:
                raise
            return None
        self._heard_s = time.monotonic()
        if self._on_message is not None:
            self._on_message(message, data)
        if isinstance(message, HeartbeatMessage):
            self.heartbeat = message
            return None
        if isinstance(message, StatsMessage):
            self.stats = message
            return None
        if message.identity.stream_id != self._stream_id:
            self._stream_id, self._expected = message.identity.stream_id, message.sequence
        self.missed += max(0, message.sequence - self._expected)
        self._expected = message.sequence + 1
        self.received += 1
        return message

    def _note_malformed(self, error: MessageError) -> None:
        self.malformed += 1
        self.last_error = str(error)
        if self._named_s is None or time.monotonic() - self._named_s > QUIET_S:
            self._named_s = time.monotonic()
            log.warning("%s: left out what cannot be read: %s", self.endpoint, error)


class _Deadline:
    """When to give up waiting; never, where there is no limit."""

    def __init__(self, limit_ms: float | None) -> None:
        self._at_s = None if limit_ms is None else time.monotonic() + limit_ms / 1000

    def left_ms(self) -> int | None:
        """How long to wait now."""
        return None if self._at_s is None else max(0, round(1000 * (self._at_s - time.monotonic())))

    def passed(self) -> bool:
        """Whether to give up, now that a wait brought nothing.

        ZeroMQ's own thread is stopped with the process, and needs a moment to fetch what came meanwhile.
        """
        if self._at_s is None:
            return False
        late_s = time.monotonic() - self._at_s
        if late_s > SUSPENDED_S:
            self._at_s += late_s + SUSPENDED_S
        return 0 <= late_s <= SUSPENDED_S
