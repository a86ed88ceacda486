"""Everything that was tracked: CSV and JSON lines. Metres, camera frame or level, nothing resampled."""

import csv
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kinestream.body.skeleton import FLOW_JOINT_NAMES, JOINT_NAMES, KEYPOINT_NAMES
from kinestream.stream import read_poses
from kinestream.tools.export.tracks import Track, is_archive
from kinestream.tools.sinks import frame_as_dict
from kinestream.tools.sinks.npz import ROW

_XYZ, _WXYZ = ("x", "y", "z"), ("w", "x", "y", "z")
_LABELS: dict[str, tuple[Sequence[str], ...]] = {
    "joints_cam_m": (JOINT_NAMES, _XYZ),
    "joint_std_m": (JOINT_NAMES,),
    "keypoints_cam_m": (KEYPOINT_NAMES, _XYZ),
    "keypoints_px": (KEYPOINT_NAMES, ("x", "y", "confidence")),
    "translation_m": (_XYZ,),
    "root_quat_wxyz": (_WXYZ,),
    "joint_quats_wxyz": (FLOW_JOINT_NAMES, _WXYZ),
    "betas": (tuple(map(str, range(10))),),
}
"""What the axes of each array are called in the names of columns."""
_SCALARS = ("frame_index", "t_capture_ns", "track_id", "score")


def write_csv(path: Path, tracks: Sequence[Track]) -> None:
    """Write one row per person and frame, by time; ``joints_cam_m.left_knee.y`` and the like are the columns.

    ``state`` is empty where the input does not tell it. Raises ``OSError``.
    """
    header = [*_SCALARS, "state", *(f"{name}.{label}" for name in _LABELS for label in _labels(name))]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row, state in _by_time(tracks):
            numbers = [f"{value:.7g}" for name in _LABELS for value in row[name].ravel()]
            writer.writerow([*(row[name].item() for name in _SCALARS), state, *numbers])


def write_json_lines(path: Path, source: Path, tracks: Sequence[Track], *, as_recorded: bool = True) -> None:
    """Write one line per frame with the names of docs/wire.md and lists for arrays.

    From a recording, with empty frames and everything else that the messages hold; from an archive, and of
    tracks that are no longer ``as_recorded``, what those hold. Raises ``OSError``.
    """
    whole = as_recorded and not is_archive(source)
    lines = _recorded_frames(source, _ids(tracks)) if whole else _archived_frames(tracks)
    with open(path, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _labels(name: str) -> Iterator[str]:
    first, *rest = _LABELS[name]
    for label in first:
        yield from (f"{label}.{inner}" for inner in rest[0]) if rest else (label,)


def _ids(tracks: Sequence[Track]) -> set[int]:
    return {track.track_id for track in tracks}


def _by_time(tracks: Sequence[Track]) -> Iterator[tuple[Any, str]]:
    """All rows with their states, in order of time and then of track."""
    rows = np.concatenate([track.rows for track in tracks])
    states = np.concatenate(
        [
            np.full(len(track), "", "U8")
            if track.coasting is None
            else np.where(track.coasting, "coasting", "tracked")
            for track in tracks
        ]
    )
    for i in np.lexsort((rows["track_id"], rows["t_capture_ns"])):
        yield rows[i], str(states[i])


def _recorded_frames(source: Path, ids: Collection[int]) -> Iterator[dict[str, Any]]:
    for message in read_poses(source):
        frame = frame_as_dict(message.output.restore(message.frame))
        frame["persons"] = [person for person in frame["persons"] if person["track_id"] in ids]
        yield {"lead_ns": message.lead_ns, **frame}


def _archived_frames(tracks: Sequence[Track]) -> Iterator[dict[str, Any]]:
    frame: dict[str, Any] = {}
    for row, _ in _by_time(tracks):
        key = {"frame_index": int(row["frame_index"]), "t_capture_ns": int(row["t_capture_ns"])}
        if frame and any(frame[name] != value for name, value in key.items()):
            yield frame
            frame = {}
        frame = frame or {**key, "persons": []}
        person: dict[str, Any] = {"track_id": int(row["track_id"]), "score": round(float(row["score"]), 4)}
        for name in ROW.names or ():
            if name in _LABELS:
                person[name] = np.round(row[name].astype(np.float64), 5).tolist()
        frame["persons"].append(person)
    if frame:
        yield frame
