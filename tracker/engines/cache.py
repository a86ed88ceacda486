"""Builds of engines on disk: written whole or not at all, with a checksum, in the user's cache folder.

A build is never trusted blindly: what is damaged, stale or of a stranger is made anew.
"""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from kinestream.engines.engine import Engine, EngineError
from kinestream.kernels.caching import cache_folder, cache_places

log = logging.getLogger(__name__)

_MAGIC: Final = b"kinestream engine 1\n"
KEPT: Final = 12
"""Newest builds that are kept."""

E = TypeVar("E", bound=Engine)


def open_or_build(
    name: str, key: str, start: Callable[[bytes], E], build: Callable[[], bytes], accept: Callable[[E], None]
) -> E:
    """An engine from the cache, or built and kept.

    Args:
        name: of the kind of engine.
        key: names the build: weights, device, versions.
        start: from a build to an engine.
        build: makes a build.
        accept: checks an engine's results.

    ``start`` and ``accept`` raise :class:`EngineError` for what they refuse: a kept build is then made anew;
    raises what a new one raises.
    """
    file = f"{key}.{name}.engine"
    kept = load(file)
    if kept is not None:
        try:
            engine = start(kept)
            accept(engine)
        except EngineError as error:
            log.warning("the engine in the cache does not fit (%s); building anew", error)
        else:
            return engine
    started_s = time.perf_counter()
    built = build()
    engine = start(built)
    accept(engine)
    store(file, built)
    log.info("built the %s engine in %.1f s; the next start reads it", name, time.perf_counter() - started_s)
    return engine


def load(name: str) -> bytes | None:
    """The build of this name; None when there is none or it is damaged, which is logged.

    Folders that can only be read, as those of an image of a container, count as well.
    """
    for folder in cache_places():
        path = folder / name
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            log.warning("cannot read the engine cache (%s)", error)
            continue
        head = len(_MAGIC) + 32
        payload = content[head:]
        if content[:head] == _MAGIC + hashlib.sha256(payload).digest():
            return payload
        log.warning("%s is damaged; building anew", path)
    return None


def store(name: str, payload: bytes) -> None:
    """Keep a build; a cache that cannot be written is logged and costs the next start its time."""
    folder = cache_folder()
    if folder is None:
        log.warning("cannot keep the engine for the next start; set KINESTREAM_CACHE to a folder")
        return
    named = os.environ.get("KINESTREAM_CACHE")
    if named and folder != Path(named):
        log.warning("KINESTREAM_CACHE: %s cannot be written to; the engine is kept in %s", named, folder)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
        os.replace(file.name, folder / name)
        builds = sorted(folder.glob("*.engine"), key=lambda path: path.stat().st_mtime_ns)
        for old in builds[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("cannot keep the engine for the next start (%s); set KINESTREAM_CACHE to a folder", error)
