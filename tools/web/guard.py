"""Stands before viser's server: no file is served and no WebSocket opened unless this lets it in."""

import ipaddress
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from kinestream.stream.endpoint import is_address, is_loopback
from kinestream.stream.refusals import Refusals

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    Answer = Callable[[ServerConnection, Request], Response | None]

_POLICY: Final = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self' ws://{0} wss://{0} data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The page loads nothing from elsewhere, and no other page can frame it."""
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d+)?")


class Guard:
    """Judges every request: that for the page as well as that for its WebSocket.

    Attributes:
        token: the first part of the path that is let in; None where only this computer reaches the page.
        refusals: of those who were turned away.
    """

    def __init__(self, *, token: str | None) -> None:
        self.token = token
        self.refusals = Refusals()

    def objection(self, path: str, origins: Sequence[str], hosts: Sequence[str]) -> str | None:
        """Why a request is refused, to follow "came"; None where it is welcome.

        Args:
            path: with its query.
            origins: every header ``Origin``; browsers send one with each WebSocket.
            hosts: every header ``Host``.
        """
        host = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            return "with a request that names no host"
        if not {f"http://{hosts[0]}", f"https://{hosts[0]}"}.issuperset(origins):
            return f"from a page of {origins[0][:100]!r}, which is another one"
        if self.token is None:
            # A name can be made to mean this computer (DNS rebinding), so that its pages look like our own.
            name = host[1].strip("[]")
            return None if is_loopback(name) else f"to {name[:100]!r}, which is no address of loopback"
        given = path.removeprefix("/").partition("?")[0].partition("/")[0]
        right = secrets.compare_digest(given.encode(), self.token.encode())
        return None if right else "without the token in the address"

    def answer(self, then: "Answer", connection: "ServerConnection", request: "Request") -> "Response | None":
        """Refuse, or let ``then`` answer the request without its token."""
        headers = request.headers
        hosts = headers.get_all("Host")
        why = self.objection(request.path, headers.get_all("Origin"), hosts)
        if why is not None:
            self.refusals.add(str(connection.remote_address[0]), why)
            return connection.respond(HTTPStatus.FORBIDDEN, "refused; the tracker's log says why\n")
        if self.token is not None:
            request.path = request.path.removeprefix(f"/{self.token}") or "/"
        response = then(connection, request)
        if response is not None:
            response.headers["Content-Security-Policy"] = _POLICY.format(hosts[0])
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["Cache-Control"] = "no-store"
        return response

    @contextmanager
    def before_viser(self, listening: socket.socket) -> Iterator[None]:
        """A server that viser starts in this context listens on ``listening`` alone, behind this guard.

        viser has no setting for either. Raises ``RuntimeError`` where it started none that way.
        """
        import websockets.asyncio.server as server

        serve, guarded = server.serve, []

        def guarded_serve(
            handler: Any, host: str, port: int, *, process_request: "Answer", **options: Any
        ) -> Any:
            def admit(connection: "ServerConnection", request: "Request") -> "Response | None":
                return self.answer(process_request, connection, request)

            guarded.append(True)
            return serve(handler, sock=listening, process_request=admit, **options)

        with patch.object(server, "serve", guarded_serve):
            yield
        if not guarded:
            raise RuntimeError(
                "this version of viser serves in a way that cannot be guarded; install viser 1.0.30"
            )


def new_token() -> str:
    """One that nobody guesses."""
    return secrets.token_urlsafe(16)


def own_address(host: str) -> str:
    """How others reach a page on this host: for "every address" the one by which this computer goes out."""
    if not is_address(host) or not ipaddress.ip_address(host).is_unspecified:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation; nothing is sent
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
