"""Which videos there are to do, and what is to be made of each."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kinestream.capture import SourceNotFoundError
from kinestream.defaults import DEFAULT_FILTER, DEFAULT_FOV_DEG, DEFAULT_MAX_PEOPLE, DEFAULT_MODEL

SUFFIXES = frozenset(
    {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".3gp"}
)
"""Files with these endings are taken from folders; a file that is named itself may end as it likes."""


@dataclass(frozen=True)
class Video:
    """One video to do.

    Attributes:
        name: its place below the results folder, with forward slashes; unique within a batch.
        path: where it lies.
        size_bytes, changed_ns: by which a changed file is noticed.
    """

    name: str
    path: Path
    size_bytes: int
    changed_ns: int

    @property
    def fingerprint(self) -> tuple[int, int]:
        """Size and time of the last change."""
        return self.size_bytes, self.changed_ns


@dataclass(frozen=True)
class Settings:
    """What is made of every video of a batch; a result made with other settings counts as missing.

    Attributes:
        npz, json, save_video: which files are written.
        filter, smooth_lag_ms, model, flip_test, max_people, fov_deg, intrinsics, body, rotate, flip: as the
            options of ``run``.
    """

    npz: bool = True
    json: bool = False
    save_video: bool = False
    filter: str = DEFAULT_FILTER
    smooth_lag_ms: float = 0.0
    model: str = DEFAULT_MODEL
    flip_test: bool = False
    max_people: int = DEFAULT_MAX_PEOPLE
    fov_deg: float = DEFAULT_FOV_DEG
    intrinsics: str | None = None
    body: str | None = None
    rotate: int = 0
    flip: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain values, to be stored beside the results."""
        return asdict(self)


def find_videos(inputs: Sequence[Path], *, results: Path) -> list[Video]:
    """The videos in these folders (with all folders below) and files, sorted by name; none below ``results``.

    With several inputs, the name of each input comes first in the names of its videos.

    Raises ``SourceNotFoundError`` where an input does not exist or nothing is found, and ``ValueError`` where
    two videos would have the same name.
    """
    found: dict[str, Video] = {}
    for given in inputs:
        if not given.exists():
            raise SourceNotFoundError(f"{given}: no such file or folder")
        for path in _paths(given, results.resolve()):
            inner = path.relative_to(given if given.is_dir() else given.parent)
            prefix = given.resolve().name if len(inputs) > 1 and given.is_dir() else ""
            name = (Path(prefix) / inner).as_posix()
            if name in found and found[name].path.resolve() != path.resolve():
                raise ValueError(
                    f"{path} and {found[name].path} would both be called {name}; make two batches"
                )
            stat = path.stat()
            found[name] = Video(name, path, stat.st_size, stat.st_mtime_ns)
    if not found:
        where = ", ".join(map(str, inputs))
        raise SourceNotFoundError(f"no video in {where}; looked for {', '.join(sorted(SUFFIXES))}")
    return [found[name] for name in sorted(found)]


def _paths(given: Path, results: Path) -> Iterator[Path]:
    if given.is_file():
        yield given
        return
    for path in given.rglob("*"):
        if path.name.startswith("."):  # such as the companions that macOS leaves
            continue
        if path.suffix.lower() in SUFFIXES and path.is_file() and results not in path.resolve().parents:
            yield path
