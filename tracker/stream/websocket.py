"""The stream over WebSocket, for browsers: the same messages, one binary frame each."""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kinestream.defaults import DEFAULT_WEBSOCKET
from kinestream.stream.admission import Admission
from kinestream.stream.binding import BindError, InsecureBindError
from kinestream.stream.endpoint import EndpointError, host_and_port, is_loopback, why_not_bound
from kinestream.stream.keys import PublisherKeys
from kinestream.stream.refusals import Refusals
from kinestream.stream.websocket_reader import WebSocketReader

if TYPE_CHECKING:
    from websockets.http11 import Request

log = logging.getLogger(__name__)

MAX_READERS: Final = 64
_TEND_S: Final = 1.0


class WebSocketServer:
    """Sends messages to any number of readers and never waits for one. A context manager.

    Messages are written by the thread that sends them: handing them to another one would have them wait
    for Python's lock while the tracker computes. A thread of its own answers requests and pings, and goes on
    with readers that are slow: those get the newest message of each topic when they are ready again.

    Attributes:
        address: ``ws://host:port``, with the real port.
        refusals: of those who were turned away.
    """

    def __init__(
        self,
        address: str = DEFAULT_WEBSOCKET,
        *,
        insecure: bool = False,
        keys: str | Path | None = None,
        origins: Iterable[str] = (),
    ) -> None:
        """Serve on an address.

        Args:
            address: ``host:port``, port 0 takes a free one.
            insecure: allow an address that other computers reach, without keys. Anybody there can listen.
            keys: folder of a publisher's keys (`kinestream.stream.keys`): only those listen who have a token
                that is allowed there. Nothing is encrypted.
            origins: pages that may listen (``https://app.example.org``), beside those of the reader's own
                computer and of the host that is served on.

        Raises ``BindError``, ``KeysError`` for the folder, ``ValueError`` for an origin, and ``ImportError``
        without the extra ``ws``.
        """
        try:
            import websockets.server  # noqa: F401
        except ImportError as error:
            raise ImportError("ws: needs websockets; pip install 'kinestream[ws]'") from error
        self._admission = Admission(PublisherKeys.load(keys) if keys is not None else None, origins)
        self._socket = _bound(address, protected=insecure or keys is not None)
        host, port = self._socket.getsockname()[:2]
        self.address = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
        self.refusals = Refusals()
        self._lock = threading.Lock()
        self._readers: list[WebSocketReader] = []
        self._stopped = False
        self._bell, self._woken = socket.socketpair()
        for end in (self._bell, self._woken):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._wake)
        self._thread = threading.Thread(target=self._run, name="kinestream websocket", daemon=True)
        self._thread.start()
        log.info("serving on %s", self.address)

    def send(self, message: bytes) -> None:
        """Send to everybody who listens; later, or never, to those who are not ready for it."""
        with self._lock:
            for reader in self._readers:
                blocked = reader.blocked
                reader.send(message)
                if reader.blocked > blocked or reader.finished:
                    self._ring()

    def close(self) -> None:
        """Say goodbye to the readers and free the address; may be called twice."""
        self._stopped = True
        if self._thread.is_alive():
            self._ring()
            self._thread.join(5)

    def __enter__(self) -> "WebSocketServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        """Body of the thread."""
        tended_s = 0.0
        while not self._stopped:
            ready = self._selector.select(_TEND_S)
            with self._lock:
                for key, _ in ready:
                    key.data()
                if time.monotonic() - tended_s > _TEND_S:
                    tended_s = time.monotonic()
                    for reader in self._readers:
                        reader.tend()
                self._watch()
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
            self._selector.close()
            for end in (self._socket, self._bell, self._woken):
                end.close()

    def _watch(self) -> None:
        """Wait for what each reader has to wait for, and let go of those that are finished.

        Nothing is read from those that do not read: answers to their pings would pile up.
        """
        for reader in self._readers:
            if reader.finished:
                self._selector.unregister(reader.socket)
                reader.close()
            elif reader.blocked:
                self._selector.modify(reader.socket, selectors.EVENT_WRITE, reader.flush)
            else:
                self._selector.modify(reader.socket, selectors.EVENT_READ, reader.receive)
        self._readers = [reader for reader in self._readers if not reader.finished]

    def _accept(self) -> None:
        try:
            connection, (peer, *_) = self._socket.accept()
        except OSError:
            return  # gone already
        if len(self._readers) >= MAX_READERS:
            self.refusals.add(peer, f"when {MAX_READERS} others were there already")
            connection.close()
            return
        reader = WebSocketReader(connection, lambda request: self._welcomes(request, peer))
        self._readers.append(reader)
        self._selector.register(connection, selectors.EVENT_READ, reader.receive)

    def _welcomes(self, request: "Request", peer: str) -> bool:
        origins, hosts = request.headers.get_all("Origin"), request.headers.get_all("Host")
        why = self._admission.objection(request.path, origins, hosts)
        if why is None:
            log.info("%s listens from %s", self._admission.listener(request.path) or "somebody", peer)
            return True
        self.refusals.add(peer, why)
        return False

    def _ring(self) -> None:
        """Wake the thread; a bell that rings already need not be rung."""
        with contextlib.suppress(OSError):
            self._bell.send(b"\0")

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(1 << 10)


def _bound(address: str, *, protected: bool) -> socket.socket:
    """A listening socket. Raises ``BindError``."""
    try:
        host, port = host_and_port(address, example=DEFAULT_WEBSOCKET)
    except EndpointError as error:
        raise BindError(f"no address to serve on: {error}") from error
    if not protected and not is_loopback(host):
        raise InsecureBindError(
            f"{address} can be reached from other computers, and anybody there could read the poses; serve "
            f"on {DEFAULT_WEBSOCKET}, let those in who have a token (kinestream keys FOLDER, --keys FOLDER), "
            "or allow it with insecure=True (--insecure)"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.create_server(("" if host == "*" else host, port), family=family)
    except OSError as error:
        raise BindError(why_not_bound(address, error, example="--ws 127.0.0.1:5559")) from error
    found.setblocking(False)
    return found
