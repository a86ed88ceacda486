"""Where compiled code and built engines are kept: a folder that can be written to, or none.

Homes may be read-only, belong to nobody or not exist, as in hardened containers. A cache only saves time.
"""

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

NAME: Final = "kinestream"


def cache_folder() -> Path | None:
    """The first of `cache_places` that can be written to; None where there is none, and nothing is kept."""
    return next(filter(writable, cache_places()), None)


def writable(folder: Path) -> bool:
    """Whether files can be made there, by making one; makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with these options, its code kept for the next start where that is possible."""

    def compile_function(function: Callable[..., Any]) -> Any:
        import numba

        keep = _numba_folder(Path(function.__code__.co_filename).parent)
        return numba.njit(cache=keep, **options)(function)

    return compile_function


def has_code(source: Path, function: str) -> bool:
    """Whether code of a compiled function is kept that numba would take for its source; does not load numba.

    Numba's index holds a digest of the source; where it is an older one's, the source's time. So a source
    that was installed again may be newer than its code.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    below = [Path(named)] if named else [place / "numba" for place in cache_places()]
    beside = [] if named else [source.parent / "__pycache__"]
    folders = beside + [folder for top in below for folder in top.glob("*")]
    kept = (path for folder in folders for path in folder.glob(f"{source.stem}.{function}-*.nbi"))
    digest, changed_s = hashlib.sha256(source.read_bytes()).digest(), source.stat().st_mtime
    return any(path.stat().st_mtime > changed_s or digest in path.read_bytes() for path in kept)


@functools.cache
def _numba_folder(source: Path) -> bool:
    """Whether numba can keep the code of functions in ``source``; tells it where, unless it knows.

    Left alone it takes the folder beside the source, or one in the home of the user, which is a folder named
    ``~`` where nobody has a home.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return writable(Path(os.environ["NUMBA_CACHE_DIR"]))
    if writable(source / "__pycache__"):
        return True
    folder = cache_folder()
    if folder is None:
        return False
    import numba

    settings: Any = numba.config
    settings.CACHE_DIR = str(folder / "numba")
    return writable(folder / "numba")


def cache_places() -> Iterator[Path]:
    """Folders for caches, best first: ``KINESTREAM_CACHE``, the user's caches, a temporary one of our own."""
    named = os.environ.get("KINESTREAM_CACHE")
    if named:
        yield Path(named)
    base = _user_caches()
    if base is not None:
        yield base / NAME
    # Not tempfile.gettempdir(), which ends in the current folder.
    for temporary in (os.environ.get("TMPDIR"), os.environ.get("TEMP"), "/tmp", "/var/tmp"):
        if temporary and os.path.isdir(temporary):
            place = Path(temporary) / f"{NAME}-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
            with contextlib.suppress(OSError):
                place.mkdir(mode=0o700)
            if _ours(place):
                yield place


def _user_caches() -> Path | None:
    """Where the system has the user's caches; None for users without a home."""
    named = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    if named and Path(named).is_absolute():
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError:  # an unknown user without HOME
        return None
    if not home.is_absolute() or home == Path("/"):  # unknown users of containers get / for a home
        return None
    inner = {"darwin": "Library/Caches", "win32": "AppData/Local"}.get(sys.platform, ".cache")
    return home / inner


def _ours(place: Path) -> bool:
    """Whether a folder that everybody could have made is not somebody else's: code from it would be run."""
    try:
        found = place.lstat()
    except OSError:
        return False
    return not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
