"""Addresses of streams: what is one, who reaches it, and how sockets notice that the other side is gone."""

import errno
import ipaddress
import re
from typing import Any, Final

import zmq

HEARTBEAT_MS: Final = 1000
SILENCE_MS: Final = 3000
"""A connection on which nothing comes for this long after a ping is made anew; a computer that lost its power
never says goodbye."""
CONNECT_MS: Final = 2000
"""One attempt to connect. The system alone would wait minutes for a computer that is not there."""
_PUBLISHER_SILENCE_MS: Final = 15_000
"""A reader that was stopped for less than this (a debugger, a sleeping laptop) loses nothing."""
_TCP: Final = re.compile(r"tcp://(\[[^\[\]]+\]|[^\[\]:]+|\*):(\d+|\*)")
_HOST_PORT: Final = re.compile(r"(\[[^\[\]/]+\]|[^\[\]:/]+):(\d+)")


class EndpointError(ValueError):
    """This is no address; the message says what is expected, for the caller to say where."""


def host_of(endpoint: str) -> str | None:
    """The host of ``tcp://host:port`` without brackets, None for ``ipc://`` and ``inproc://``.

    Raises ``EndpointError`` for anything else, and for ports that do not exist.
    """
    if endpoint.startswith(("ipc://", "inproc://")):
        return None
    match = _TCP.fullmatch(endpoint)
    if match is None:
        raise EndpointError(
            "expected tcp://HOST:PORT, for IPv6 tcp://[HOST]:PORT, or ipc://PATH, e.g. tcp://127.0.0.1:5556"
        )
    if match[2] != "*" and int(match[2]) > 65535:
        raise EndpointError(f"there is no port {match[2]}, expected at most 65535")
    return match[1].strip("[]")


def host_and_port(address: str, *, example: str) -> tuple[str, int]:
    """The host, without brackets, and the port of ``host:port``. Raises ``EndpointError``."""
    match = _HOST_PORT.fullmatch(address)
    if match is None or int(match[2]) > 65535:
        raise EndpointError(
            f"expected HOST:PORT, for IPv6 [HOST]:PORT, the port at most 65535, e.g. {example}; found "
            f"{address!r}"
        )
    return match[1].strip("[]"), int(match[2])


def is_address(host: str) -> bool:
    """Whether this is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches the host or interface of this name."""
    return ipaddress.ip_address(host).is_loopback if is_address(host) else host in ("localhost", "lo")


def prepare(socket: "zmq.Socket[Any]", endpoint: str) -> None:
    """Set what a socket needs before it binds or connects: IPv6, heartbeats, limits for attempts."""
    socket.setsockopt(zmq.IPV6, int(":" in (host_of(endpoint) or "")))
    publishes = socket.type == zmq.PUB
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _PUBLISHER_SILENCE_MS if publishes else SILENCE_MS)
    if not publishes:
        socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
        socket.setsockopt(zmq.HANDSHAKE_IVL, SILENCE_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, HEARTBEAT_MS)


def why_not_bound(
    endpoint: str, error: zmq.ZMQError | OSError, *, example: str = "--bind tcp://127.0.0.1:5557"
) -> str:
    """Why an address cannot be bound, and what to do; ``example`` is an option with one that may be free."""
    known = "`ip address` lists those it has, 0.0.0.0 stands for all of them"
    advice = {
        errno.EADDRINUSE: "is in use by another program; stop that program or choose another address",
        errno.EADDRNOTAVAIL: f"is no address of this computer; {known}",
        errno.ENODEV: f"names no address or network interface of this computer; {known}",
        errno.EACCES: "is not allowed to you; ports below 1024 and folders of others need privileges",
        errno.ENOENT: "lies in a folder that does not exist; make it first",
        errno.ENAMETOOLONG: "is too long for a path; choose one of at most 100 letters",
        errno.EROFS: "lies on a file system that is read-only; choose another folder",
        errno.EAFNOSUPPORT: "needs IPv6, which is switched off on this computer; use an address of IPv4",
    }
    found = advice.get(error.errno or 0)
    return f"{endpoint} {found or f'cannot be bound ({error.strerror}); choose another'} ({example})"
