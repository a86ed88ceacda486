"""Passwords in addresses: the one place that masks them, for messages, recordings and logs."""

import logging
import re
from typing import Final

MASK: Final = "***"
_ADDRESS: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)(\S+)", re.IGNORECASE)
_AFTER: Final = re.compile(r"[\]\"'<>),.;:]*\Z")  # of the sentence around the address
_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:/@]*)(:\d*)?\Z")
_VALUE: Final = re.compile(r"=[^&;]*")


def mask_secrets(text: str) -> str:
    """The text with the user part and the query values of every address in it masked.

    >>> mask_secrets("http://admin:p@ss@camera/video?user=admin&pwd=1234: refused")
    'http://***@camera/video?user=***&pwd=***: refused'
    """
    return _ADDRESS.sub(lambda found: found[1] + _masked(found[2]), text)


class MaskingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without the passwords of addresses."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return mask_secrets(super().format(record))


def _masked(rest: str) -> str:
    """What follows ``scheme://``, masked."""
    end = _AFTER.search(rest)
    tail = end[0] if end else ""
    user, rest = _user(rest.removesuffix(tail))
    place, mark, query = _partition(rest)
    if query:
        query = _VALUE.sub(f"={MASK}", query) if "=" in query else MASK
    return (f"{MASK}@" if user else "") + place + mark + query + tail


def _user(rest: str) -> tuple[str, str]:
    """User part and the rest. Passwords may hold ``@``, ``/``, ``?`` and ``#``."""
    head = re.split(r"[/?#]", rest, maxsplit=1)[0]
    end = head.rfind("@")
    if end < 0 and not _HOST.match(head):  # "admin:pa" of "admin:pa/ss@camera" is no host with a port
        end = rest.rfind("@")
    return (rest[:end], rest[end + 1 :]) if end >= 0 else ("", rest)


def _partition(rest: str) -> tuple[str, str, str]:
    """What stands before the first ``?`` or ``#``, that mark, and what follows it."""
    found = re.search(r"[?#]", rest)
    return (rest, "", "") if found is None else (rest[: found.start()], found[0], rest[found.end() :])
