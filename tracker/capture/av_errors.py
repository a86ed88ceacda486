"""What FFmpeg's errors mean to the person who gave the source: the cause, and what to do."""

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import av.error

from kinestream.capture.errors import CaptureError, SourceNotFoundError, UnreadableSourceError

STANDARD_INPUT = "pipe:0"
_ADDRESS_HELP: tuple[tuple[type[Exception], str], ...] = (
    (
        av.error.ConnectionRefusedError,
        "nobody answers there (connection refused); is the camera on and started up, are address "
        "and port right?",
    ),
    (
        av.error.ExitError,
        "no answer in time; is the camera on, in the same network, and not behind a firewall?",
    ),
    (
        av.error.HTTPUnauthorizedError,
        "it asks for a user name and password (401), or these are wrong; write SCHEME://USER:PASSWORD@HOST/...",
    ),
    (av.error.HTTPForbiddenError, "access denied (403); may this user watch, and from this computer?"),
    (
        av.error.HTTPServerError,
        "it reports an error of its own (5XX); is it still starting, or watched by too many already?",
    ),
    (
        av.error.ProtocolNotFoundError,
        "this kind of address is not known; rtsp://, http://, udp:// and more are",
    ),
    (
        av.error.InvalidDataError,
        "it answers, but not with video; is this the address of the stream itself, not of a page about it?",
    ),
)


def opening_failed(name: str, url: str, error: Exception, *, path: Path | None) -> CaptureError:
    """The error to raise where FFmpeg cannot open ``path`` or, without one, the address or device ``url``."""
    if url == STANDARD_INPUT:
        return UnreadableSourceError(f"{name}: {_input_cause(error)}")
    if isinstance(error, av.error.FileNotFoundError | av.error.HTTPNotFoundError) and not _is_empty(path):
        return SourceNotFoundError(
            f"{name}: no such file, device or address ({reason(error)}); check how it is written"
        )
    if cause := _file_cause(path, error) if path else _address_cause(url, error):
        return UnreadableSourceError(f"{name}: cannot be opened: {cause}")
    return UnreadableSourceError(
        f"{name}: cannot be opened as video ({reason(error)}); it may be cut off, damaged, protected or no "
        "video at all. Where a player shows it, convert it: ffmpeg -i IN OUT.mp4"
    )


def reason(error: Exception) -> str:
    """What FFmpeg says, without the address, which may hold a password."""
    if isinstance(error, av.error.ExitError):
        return "no data in time"
    return getattr(error, "strerror", None) or type(error).__name__


def _input_cause(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return "nothing came in time; does the program before the | run, and write video without a pause?"
    return (
        f"what came is no video ({reason(error)}), or nothing came at all; the program before the | must "
        "write a format that needs no seeking (ffmpeg ... -f matroska -, or -f mpegts -)"
    )


def _is_empty(path: Path | None) -> bool:
    return path is not None and path.is_file() and path.stat().st_size == 0


def _file_cause(path: Path, error: Exception) -> str | None:
    if _is_empty(path):
        return "it is empty (0 bytes); was it copied or downloaded to the end?"
    if isinstance(error, PermissionError):
        return "you may not read it (permission denied)"
    return None


def _address_cause(url: str, error: Exception) -> str | None:
    for kind, text in _ADDRESS_HELP:
        if isinstance(error, kind):
            return text
    number = getattr(error, "errno", None)
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN):
        return f"no way to it ({reason(error)}); is it on, and in the same network?"
    host = urlsplit(url).hostname
    if host and number == errno.EIO and not _known(host):
        return f"no computer called {host} is known; check the name, or give its number (192.168...)"
    return None


def _known(host: str, resolve: Callable[..., object] = socket.getaddrinfo) -> bool:
    try:
        resolve(host, None)
    except OSError:
        return False
    return True
