"""Frames as JSON, one object per line."""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from kinestream.capture import Frame
from kinestream.pose import Person, PoseFrame
from kinestream.tools.sinks.base import Sink, complete, naming

_FLUSH_S = 0.5
_ARRAYS = (
    "box_xyxy_px",
    "root_quat_wxyz",
    "translation_m",
    "joint_quats_wxyz",
    "betas",
    "joints_cam_m",
    "joint_std_m",
    "keypoints_cam_m",
    "keypoints_px",
)


def frame_as_dict(poses: PoseFrame) -> dict[str, Any]:
    """The frame with lists for arrays, rounded to 5 decimals; names as in `PoseFrame` and `Person`."""
    camera = poses.camera
    return {
        "frame_index": int(poses.frame_index),
        "t_capture_ns": int(poses.t_capture_ns),
        "camera": {
            "width_px": camera.width_px,
            "height_px": camera.height_px,
            "focal_px": list(camera.focal_px),
            "center_px": list(camera.center_px),
            "distortion": list(camera.distortion),
        },
        **({} if poses.ground is None else {"ground": dataclasses.asdict(poses.ground)}),
        "persons": [_person_as_dict(person) for person in poses],
    }


def _person_as_dict(person: Person) -> dict[str, Any]:
    row: dict[str, Any] = {
        "track_id": int(person.track_id),
        "score": round(float(person.score), 4),
        "state": person.state,
        "age_ns": int(person.age_ns),
    }
    for name in _ARRAYS:
        row[name] = np.round(getattr(person, name).astype(np.float64), 5).tolist()
    return row


class JsonLinesSink(Sink):
    """Writes to a file, or to standard output where the path is ``-``."""

    def __init__(self, path: str | Path) -> None:
        """Open the file. Raises ``OSError``."""
        self._standard_output = str(path) == "-"
        self.name = "standard output" if self._standard_output else str(path)
        self._file: TextIO | None = sys.stdout if self._standard_output else open(path, "w", encoding="utf-8")
        self._flushed_s = time.monotonic()

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Add one line."""
        self.add(poses)

    def add(self, poses: PoseFrame) -> None:
        """Add one line, of poses whose picture is not at hand."""
        if self._file is None:
            return
        line = json.dumps(frame_as_dict(poses), separators=(",", ":")) + "\n"
        with naming(self.name):
            self._file.write(line)
            if self._standard_output or time.monotonic() - self._flushed_s > _FLUSH_S:
                self._file.flush()
                self._flushed_s = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None and not self._standard_output:
            with naming(self.name):
                complete(file)
