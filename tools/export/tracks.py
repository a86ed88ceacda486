"""People over time, read from a recording or from the archive of ``kinestream run --npz``."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kinestream.stream import PoseMessage, RecordingError, read_poses
from kinestream.tools.sinks.npz import ROW

_FRAME_FIELDS = ("frame_index", "t_capture_ns")


class ExportError(ValueError):
    """What was asked for cannot be exported; the message says why and what to do."""


@dataclass(frozen=True)
class Track:
    """One person over time.

    Attributes:
        track_id: as in the stream.
        rows: (T,) structured array with the columns of `kinestream.tools.sinks.npz.ROW`, by time, no time
            twice.
            ``t_capture_ns`` is the time for which the pose holds, predictions included.
        coasting: (T,) whether the person was unseen in the frame; None where the file does not tell.
        fps: nominal rate of the file, None where it does not tell.
    """

    track_id: int
    rows: npt.NDArray[Any]
    coasting: npt.NDArray[np.bool_] | None = None
    fps: float | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def t_ns(self) -> npt.NDArray[np.int64]:
        """(T,) times in nanoseconds."""
        return self.rows["t_capture_ns"]


def is_archive(path: Path) -> bool:
    """Whether the file is meant to be an archive and not a recording."""
    return path.suffix.lower() in (".npz", ".npy")


def read_tracks(path: Path) -> list[Track]:
    """All tracks in a file, by id.

    Takes a recording (MCAP), the archive of ``--npz``, or the ``.rows.npy`` that a crash left of it. Where a
    recording holds several streams, tracks of later ones get ids after those of earlier ones.

    Raises ``ExportError`` for a file without people or of another kind, ``OSError`` where it cannot be read.
    """
    rows, coasting, fps = _archive_rows(path) if is_archive(path) else _recorded_rows(path)
    if not len(rows):
        raise ExportError(f"{path}: nobody is in it; there is nothing to export")
    tracks = []
    for track_id in np.unique(rows["track_id"]):
        mine = np.flatnonzero(rows["track_id"] == track_id)
        _, first = np.unique(rows["t_capture_ns"][mine], return_index=True)
        chosen = mine[first]
        seen = None if coasting is None else coasting[chosen]
        tracks.append(Track(int(track_id), rows[chosen], seen, fps))
    return tracks


def _recorded_rows(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], float | None]:
    rows: list[npt.NDArray[Any]] = []
    coasting: list[bool] = []
    stream, base, next_base = "", 0, 0
    fps: float | None = None
    for message in read_poses(path):
        fps = fps or message.fps
        if message.identity.stream_id != stream:
            stream, base = message.identity.stream_id, next_base
        rows.append(_rows_of(message, base))
        coasting.extend(person.state == "coasting" for person in message.frame)
        if len(rows[-1]):
            next_base = max(next_base, int(rows[-1]["track_id"].max()) + 1)
    return np.concatenate([np.zeros(0, ROW), *rows]), np.array(coasting, np.bool_), fps


def _rows_of(message: PoseMessage, base: int) -> npt.NDArray[Any]:
    frame = message.output.restore(message.frame)
    rows = np.zeros(len(frame), ROW)
    for row, person in zip(rows, frame, strict=True):
        for name in ROW.names or ():
            row[name] = getattr(frame if name in _FRAME_FIELDS else person, name)
        row["track_id"] += base
        row["t_capture_ns"] += message.lead_ns
    return rows


def _archive_rows(path: Path) -> tuple[npt.NDArray[Any], None, float | None]:
    names = ROW.names or ()
    fps: float | None = None
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            missing = [name for name in names if name not in (content.dtype.names or ())]
            columns = {name: content[name] for name in names if name not in missing}
        else:
            missing = [name for name in names if name not in content.files]
            columns = {name: content[name] for name in names if name not in missing}
            fps = float(content["fps"]) if "fps" in content.files else None
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ExportError(f"{path}: not an archive of kinestream run --npz ({error})") from error
    if missing:
        raise ExportError(
            f"{path}: not an archive of kinestream run --npz; it lacks {', '.join(missing)}. Recordings end "
            "in .mcap"
        )
    rows = np.zeros(len(columns["track_id"]), ROW)
    for name, column in columns.items():
        if column.shape != rows[name].shape:
            raise ExportError(f"{path}: {name} has shape {column.shape}, expected {rows[name].shape}")
        rows[name] = column
    return rows, None, fps


__all__ = ["ExportError", "RecordingError", "Track", "is_archive", "read_tracks"]
