"""Builds of engines on disk: written whole or not at all, with a checksum, in the user's cache folder."""

import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_MAGIC: Final = b"kinestream engine 1\n"
KEPT: Final = 12
"""Newest builds that are kept."""


def cache_folder() -> Path:
    """``KINESTREAM_CACHE``, or the place that the system has for caches."""
    named = os.environ.get("KINESTREAM_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "kinestream"


def load(name: str) -> bytes | None:
    """The build of this name; None when there is none or it is damaged, which is logged."""
    path = cache_folder() / name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("cannot read the engine cache (%s); building anew", error)
        return None
    head = len(_MAGIC) + 32
    payload = content[head:]
    if content[:head] != _MAGIC + hashlib.sha256(payload).digest():
        log.warning("%s is damaged; building anew", path)
        return None
    return payload


def store(name: str, payload: bytes) -> None:
    """Keep a build; a cache that cannot be written is logged and costs the next start its time."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
        os.replace(file.name, folder / name)
        builds = sorted(folder.glob("*.engine"), key=lambda path: path.stat().st_mtime_ns)
        for old in builds[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("cannot keep the engine for the next start (%s); set KINESTREAM_CACHE to a folder", error)
