"""Lets listeners in by their keys, and says who was turned away."""

import logging
import threading
from types import TracebackType
from typing import Any, Final

import zmq
import zmq.utils.monitor
from zmq.utils import z85

from kinestream.stream.keys import PublisherKeys
from kinestream.stream.refusals import Refusals

log = logging.getLogger(__name__)

ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
DOMAIN: Final = "kinestream"
POLL_MS: Final = 100
UNFINISHED: Final = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
"""Both sides see that they speak differently; the second event is told where the other hangs up first."""


class Guard:
    """Answers ZeroMQ's question "may this peer in?" (ZAP, RFC 27) for one context, in a thread of its own.

    Attributes:
        refusals: of those who were turned away.
    """

    def __init__(self, context: "zmq.Context[Any]", socket: "zmq.Socket[bytes]", keys: PublisherKeys) -> None:
        """Arm ``socket``; it must not be bound yet."""
        self.refusals = Refusals()
        self._keys = keys
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        socket.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        self._socket = socket
        self._events = socket.get_monitor_socket(UNFINISHED)
        self._questions: zmq.Socket[bytes] = context.socket(zmq.REP)
        self._questions.linger = 0
        self._questions.bind(ZAP_ENDPOINT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kinestream guard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; nobody is let in any more. Call before the socket is closed."""
        self._stop.set()
        self._thread.join(2)
        self._socket.disable_monitor()
        self._events.close(linger=0)
        self._questions.close()

    def __enter__(self) -> "Guard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._questions, zmq.POLLIN)
        poller.register(self._events, zmq.POLLIN)
        while not self._stop.is_set():
            for ready, _ in poller.poll(POLL_MS):
                if ready is self._questions:
                    self._answer()
                else:
                    zmq.utils.monitor.recv_monitor_message(self._events)
                    self.refusals.add("somebody", "without the publisher's key")

    def _answer(self) -> None:
        """One request: version, id, domain, address, identity, mechanism, credentials."""
        request = self._questions.recv_multipart()
        version, number, domain, address, _, mechanism = (request + [b""] * 6)[:6]
        key = request[6] if len(request) == 7 and len(request[6]) == 32 else None
        name = None
        if version == b"1.0" and domain == DOMAIN.encode() and mechanism == b"CURVE" and key is not None:
            name = self._keys.allowed().get(z85.encode(key))
        status = (b"400", b"not allowed", b"") if name is None else (b"200", b"OK", name.encode())
        peer = address.decode("ascii", "replace")
        if name is None:
            shown = z85.encode(key).decode() if key is not None else "no key"
            self.refusals.add(
                peer,
                f"with the key {shown}, which is not among those allowed (kinestream keys)",
            )
        else:
            log.info("%s listens from %s", name, peer)
        self._questions.send_multipart([b"1.0", number, *status, b""])  # last: who hears us is in the log
