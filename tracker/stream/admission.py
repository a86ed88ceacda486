"""Who may listen over WebSocket: pages by their origin, everybody by a token where there are keys."""

import re
import socket
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import parse_qs, urlsplit

from kinestream.stream.endpoint import is_address, is_loopback
from kinestream.stream.keys import PublisherKeys

_ORIGIN: Final = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/?#\s]+")
_LONGEST: Final = 100


class Admission:
    """Judges the request that opens a WebSocket.

    Any page that a browser shows may try to connect to this computer; browsers say where it came from, and
    programs that are no browsers say nothing.
    """

    def __init__(self, keys: PublisherKeys | None, origins: Iterable[str]) -> None:
        """Let in pages of ``origins`` beside those of this computer. Raises ``ValueError`` for no origin."""
        self._keys = keys
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        for origin in self._origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"origin: expected SCHEME://HOST[:PORT] such as https://app.example.org, or null for "
                    f"pages without one, found {origin!r}"
                )

    def listener(self, path: str) -> str | None:
        """Name of the one whose token is in the path's query; None where it is nobody's."""
        token = parse_qs(path.partition("?")[2]).get("token", [""])[0]
        return self._keys.bearer(token) if self._keys is not None and token else None

    def objection(self, path: str, origins: Sequence[str], hosts: Sequence[str]) -> str | None:
        """Why this request is refused, to follow "came"; None where it is welcome.

        Args:
            path: with its query.
            origins: every header ``Origin``.
            hosts: every header ``Host``.
        """
        if len(origins) > 1 or len(hosts) != 1:
            return "with a request that names several origins or no host"
        if origins and origins[0].lower() not in self._origins and not _is_own_page(origins[0], hosts[0]):
            return f"from a page of {origins[0][:_LONGEST]!r}, which is not allowed (--ws-origin)"
        if self._keys is not None and self.listener(path) is None:
            return "without a token of those allowed (kinestream keys)"
        return None


def _is_own_page(origin: str, host: str) -> bool:
    """Whether a page comes from the reader's own computer or from the host that it connects to.

    A name alone proves no host: its owner can point it at any address (DNS rebinding). So that host must be
    an address, or have this computer's own name.
    """
    page, here = _host(origin), _host(f"//{host}")
    if not page:
        return False
    if page == "localhost" or (is_address(page) and is_loopback(page)):
        return True
    own = socket.gethostname().lower()
    return page == here and (is_address(page) or page in (own, f"{own}.local"))


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
