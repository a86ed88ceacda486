"""One reader on a WebSocket: sends without waiting, and keeps the newest of what cannot be sent yet."""

import logging
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from websockets.http11 import Request

PING_S: Final = 5.0
SILENCE_S: Final = 15.0
"""A reader that neither answers nor takes anything for this long is gone; it may come back later."""
CLOSE_S: Final = 1.0
UNSENT_BYTES: Final = 1 << 14
"""What the system may hold for a reader that has no room. A smaller buffer as a whole would wait for delayed
acknowledgements: 135 ms for a mesh of 240 kB on loopback, without it 1 ms."""
_MAX_RECEIVED_BYTES: Final = 1024
_REFUSED: Final = "refused; the tracker's log says why\n"

_SILENT: Final = logging.Logger("silent", logging.CRITICAL + 1)
"""The library's own log would show tokens."""


class WebSocketReader:
    """A connection from its first byte to its last. Not thread-safe: its owner holds a lock.

    Attributes:
        socket: as accepted; does not block.
        finished: whether nothing more will come or go, and the socket can be closed.
    """

    def __init__(self, connection: socket.socket, admit: "Callable[[Request], bool]") -> None:
        """Wait for a request on a connection, and ask ``admit`` whether it is welcome."""
        from websockets.server import ServerProtocol

        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.socket = connection
        self.finished = False
        self._admit = admit
        self._protocol = ServerProtocol(max_size=_MAX_RECEIVED_BYTES, logger=_SILENT)
        self._unsent = bytearray()
        self._waiting: dict[bytes, bytes] = {}
        self._opened_s = self._alive_s = self._pinged_s = time.monotonic()
        self._closing_s: float | None = None

    @property
    def blocked(self) -> bool:
        """Whether the other side has yet to take what was sent."""
        return bool(self._unsent)

    @property
    def listens(self) -> bool:
        """Whether it was welcome and has not said goodbye."""
        return self._protocol.state.name == "OPEN"

    def send(self, message: bytes) -> None:
        """Send this; where that blocks, later, unless a newer one of its topic comes before."""
        if self.blocked:
            topic = message[: message.find(b"\0")]
            self._waiting.pop(topic, None)  # the new one goes to the end
            self._waiting[topic] = message
        elif self.listens:
            self._protocol.send_binary(message)
            self.flush()

    def flush(self) -> None:
        """Send as much as the other side takes of what there is."""
        while not self.finished:
            for piece in self._protocol.data_to_send():
                self._unsent += piece
                if not piece:  # the end
                    self._closing_s = self._closing_s or time.monotonic()
            if self._unsent:
                try:
                    del self._unsent[: self.socket.send(self._unsent)]
                except BlockingIOError:
                    return
                except OSError:
                    self.finished = True
                    return
                self._alive_s = time.monotonic()
            elif self._waiting and self.listens:
                self._protocol.send_binary(self._waiting.pop(next(iter(self._waiting))))
            else:
                if self._closing_s is not None:
                    self._half_close()
                return

    def receive(self) -> None:
        """Read what came: a request, answers to pings, a goodbye."""
        from websockets.http11 import Request

        try:
            data = self.socket.recv(1 << 14)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._alive_s = time.monotonic()
        if not data:
            self.finished = True
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):  # what follows are frames, and readers have nothing to say
                self._answer(event)
        self.flush()

    def tend(self) -> None:
        """Ping, and give up who is gone; to be called every second or so."""
        now_s = time.monotonic()
        if self._closing_s is not None:
            self.finished |= now_s - self._closing_s > CLOSE_S
        elif now_s - (self._alive_s if self.listens else self._opened_s) > SILENCE_S:
            self.finished = True
        elif self.listens and now_s - self._pinged_s > PING_S:
            self._pinged_s = now_s
            self._protocol.send_ping(b"")
            self.flush()

    def close(self) -> None:
        """Say goodbye, as far as that can be done at once."""
        if self.listens and not self.blocked:
            self._protocol.send_close(1001)
            self.flush()
        self.socket.close()

    def _answer(self, request: "Request") -> None:
        if self._admit(request):
            response = self._protocol.accept(request)
        else:
            response = self._protocol.reject(HTTPStatus.FORBIDDEN, _REFUSED)
        self._protocol.send_response(response)

    def _half_close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.finished = True
