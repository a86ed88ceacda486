"""A ZeroMQ PUB socket on an address: bound, guarded, and never in anybody's way."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import zmq

from kinestream.stream.endpoint import EndpointError, host_of, is_loopback, prepare, why_not_bound
from kinestream.stream.keys import PublisherKeys

if TYPE_CHECKING:
    from kinestream.stream.guard import Guard

log = logging.getLogger(__name__)

QUEUED_MESSAGES: Final = 128
"""Per subscriber; a slow one then loses messages and slows nobody."""
LINGER_MS: Final = 200
RELEASE_S: Final = 0.5
"""A publisher that was closed just now may hold the address for another moment."""


class BindError(OSError):
    """The address cannot be bound; the message says why and what to do."""


class InsecureBindError(BindError):
    """The address is reachable by others, and nothing protects the stream."""


class Binding:
    """The socket. Not thread-safe: its owner holds a lock around every call.

    Attributes:
        endpoint: the address, with the real port once bound.
        bound: whether subscribers can connect.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        insecure: bool = False,
        keys: PublisherKeys | str | Path | None = None,
        on_busy: Literal["raise", "retry"] = "raise",
    ) -> None:
        """Bind the address.

        Args:
            endpoint: ``tcp://host:port`` (port 0 takes a free one) or ``ipc://path``.
            insecure: allow an address that other computers reach, without keys. Anybody there can listen.
            keys: encrypt, and let only those listen who are allowed in this folder
                (`kinestream.stream.keys`).
            on_busy: what to do when another program has the address: raise, or say so once and leave it
                to `retry`.

        Raises ``BindError``, and ``KeysError`` for the folder.
        """
        if keys is not None and not isinstance(keys, PublisherKeys):
            keys = PublisherKeys.load(keys)
        check_endpoint(endpoint, protected=insecure or keys is not None)
        self.endpoint = endpoint
        self.bound = False
        # ZeroMQ asks one gatekeeper per context, so a guarded socket has a context to itself.
        self._own_context: zmq.Context[Any] | None = zmq.Context() if keys is not None else None
        context = self._own_context or zmq.Context.instance()
        self._socket: zmq.Socket[bytes] = context.socket(zmq.PUB)
        self._socket.set_hwm(QUEUED_MESSAGES)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        prepare(self._socket, endpoint)
        self.guard = _guard(context, self._socket, keys) if keys is not None else None
        try:
            self._bind(timeout_s=RELEASE_S if on_busy == "raise" else 0.0)
        except BindError as error:
            if on_busy == "raise" or getattr(error.__cause__, "errno", None) != zmq.EADDRINUSE:
                self.close()
                raise
            log.warning("%s; tracking goes on without subscribers until it is free", error)

    def send(self, data: bytes) -> None:
        """Hand a message to whoever listens; lost where nobody can."""
        if self.bound:
            self._socket.send(data, zmq.NOBLOCK)

    def retry(self) -> None:
        """Try again where the address was taken."""
        if not self.bound:
            try:
                self._bind()
            except BindError as error:
                log.debug("%s", error)

    def close(self) -> None:
        """Free the address; may be called twice."""
        self.bound = False
        if self._socket.closed:
            return
        if self.guard is not None:
            self.guard.close()
        self._socket.close()
        if self._own_context is not None:
            self._own_context.term()

    def _bind(self, timeout_s: float = 0.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.bind(self.endpoint)
                break
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE or time.monotonic() >= deadline_s:
                    raise BindError(why_not_bound(self.endpoint, error)) from error
            time.sleep(0.02)
        self.endpoint = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        self.bound = True
        log.info("publishing on %s", self.endpoint)


def check_endpoint(endpoint: str, *, protected: bool) -> None:
    """Raise ``BindError`` unless this is an address, and protected or reached by this computer alone."""
    try:
        host = host_of(endpoint)
    except EndpointError as error:
        raise BindError(f"{endpoint!r} is no address to publish on: {error}") from error
    if host is not None and not protected and not is_loopback(host):
        raise InsecureBindError(
            f"{endpoint} can be reached from other computers, and anybody there could read the poses; "
            "publish on tcp://127.0.0.1:5556, protect the stream with keys (kinestream keys FOLDER, --keys "
            "FOLDER), or allow it with insecure=True (--insecure)"
        )


def _guard(context: "zmq.Context[Any]", socket: "zmq.Socket[bytes]", keys: PublisherKeys) -> "Guard":
    from kinestream.stream.guard import Guard  # loads asyncio, which nothing else needs

    return Guard(context, socket, keys)
