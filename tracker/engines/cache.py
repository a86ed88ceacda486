"""Builds of engines on disk: written whole or not at all, with a checksum, in the user's cache folder.

A build is never trusted blindly: beside it stands how far it was from torch when it was made, for which
weights, processor and versions. Where that is missing or of another build, it is compared again; what is
damaged or does not fit is made anew.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from kinestream.engines.engine import Engine, EngineError, Network, build_key
from kinestream.kernels.caching import cache_folder, cache_places

log = logging.getLogger(__name__)
progress = logging.getLogger("kinestream.progress")
"""What explains a long wait; the command line shows it always."""

_MAGIC: Final = b"kinestream engine 1\n"
KEPT: Final = 12
"""Newest builds that are kept."""

E = TypeVar("E", bound=Engine)


def open_or_build(
    name: str,
    network: Network,
    versions: dict[str, str],
    start: Callable[[bytes], E],
    build: Callable[[], bytes],
    compare: Callable[[E], float],
) -> E:
    """An engine from the cache, or built and kept.

    Args:
        name: of the kind of engine.
        network: what it runs.
        versions: what a build depends on beside the network: libraries, device.
        start: from a build to an engine.
        build: makes a build.
        compare: the engine's largest difference from torch.

    ``start`` and ``compare`` raise :class:`EngineError` for what they refuse: a kept build is then made anew;
    raises what a new one raises.
    """
    key = build_key(network, **versions)
    file = f"{key}.{name}.engine"
    kept = load(file)
    if kept is not None:
        record, content = _split(kept)
        del kept
        try:
            engine = start(content)
            if record.get("key") != key:
                compare(engine)
        except EngineError as error:
            log.warning("the engine in the cache does not fit (%s); building anew", error)
        else:
            return engine
    progress.info("preparing the %s engine; this happens once for this computer", name)
    started_s = time.perf_counter()
    built = build()
    engine = start(built)
    record = {"key": key, "drift": compare(engine), **versions}
    store(file, json.dumps(record).encode() + b"\n" + built)
    log.info("built the %s engine in %.1f s; the next start reads it", name, time.perf_counter() - started_s)
    return engine


def _split(kept: bytes) -> tuple[dict[str, Any], bytes]:
    """What is recorded beside a build, and the build."""
    line, _, content = kept.partition(b"\n")
    try:
        return dict(json.loads(line)), content
    except (ValueError, TypeError):
        return {}, kept


def load(name: str) -> bytes | None:
    """The build of this name; None when there is none or it is damaged, which is logged.

    Folders that can only be read, as those of an image of a container, count as well.
    """
    for folder in cache_places():
        path = folder / name
        try:
            with path.open("rb") as file:
                head, payload = file.read(len(_MAGIC) + 32), file.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            log.warning("cannot read the engine cache (%s)", error)
            continue
        if head == _MAGIC + hashlib.sha256(payload).digest():
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
