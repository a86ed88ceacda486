"""Tracks as a NumPy archive, one row per person and frame.

While recording, the rows go to ``<name>.rows.npy`` beside it, a structured array that `numpy.load` opens at
any time, also after a crash. Memory does not grow with the recording.
"""

import os
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kinestream.body.skeleton import (
    JOINT_NAMES,
    KEYPOINT_NAMES,
    NUM_BETAS,
    NUM_FLOW_JOINTS,
    NUM_JOINTS,
    NUM_KEYPOINTS,
)
from kinestream.capture import Frame
from kinestream.pose import PoseFrame
from kinestream.tools.sinks.base import Sink, SinkError, complete, naming

ROW = np.dtype(
    [
        ("frame_index", "<i8"),
        ("t_capture_ns", "<i8"),
        ("track_id", "<i8"),
        ("score", "<f4"),
        ("joints_cam_m", "<f4", (NUM_JOINTS, 3)),
        ("joint_std_m", "<f4", (NUM_JOINTS,)),
        ("keypoints_cam_m", "<f4", (NUM_KEYPOINTS, 3)),
        ("keypoints_px", "<f4", (NUM_KEYPOINTS, 3)),
        ("translation_m", "<f4", (3,)),
        ("root_quat_wxyz", "<f4", (4,)),
        ("joint_quats_wxyz", "<f4", (NUM_FLOW_JOINTS, 4)),
        ("betas", "<f4", (NUM_BETAS,)),
    ]
)
"""The columns of the archive, N rows each; beside them the lists ``joint_names`` and ``keypoint_names``,
and ``fps``, the nominal rate of the source, where it is known."""

_HEADER_BYTES = 1024
_SYNC_S = 0.2


class NpzSink(Sink):
    """Writes ``path``; see `ROW` for what it holds."""

    def __init__(self, path: str | Path, *, fps: float | None = None) -> None:
        """Start the row file; ``fps`` is the nominal rate of the source. Raises ``OSError``."""
        self._rate = {} if fps is None else {"fps": np.array(fps)}
        self._path = Path(path)
        self.name = str(path)
        self._rows_path = self._path.with_suffix(".rows.npy")
        self._count = 0
        self._synced_s = time.monotonic()
        file = open(self._rows_path, "wb")
        self._file: BinaryIO | None = file
        self._write_header(file)

    def write(self, frame: Frame, poses: PoseFrame) -> None:
        """Add a row for each person."""
        if self._file is None or not poses.persons:
            return
        rows = np.zeros(len(poses), ROW)
        for row, person in zip(rows, poses, strict=True):
            for name in ROW.names or ():
                row[name] = getattr(poses if name in ("frame_index", "t_capture_ns") else person, name)
        self._file.write(rows.tobytes())
        self._count += len(rows)
        if time.monotonic() - self._synced_s > _SYNC_S:
            self._write_header(self._file)
            self._synced_s = time.monotonic()

    def close(self) -> None:
        """Write the archive and remove the row file."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with naming(self._rows_path):
                file.close()
        finally:
            self._assemble()

    def _assemble(self) -> None:
        size = os.path.getsize(self._rows_path) - _HEADER_BYTES
        count = max(0, size) // ROW.itemsize
        shape = (count,)
        rows = (
            np.memmap(self._rows_path, ROW, "r", offset=_HEADER_BYTES, shape=shape)
            if count
            else np.zeros(0, ROW)
        )
        columns = {name: rows[name] for name in ROW.names or ()}
        try:
            with open(self._path, "wb") as archive:
                np.savez(
                    archive,
                    joint_names=np.array(JOINT_NAMES),
                    keypoint_names=np.array(KEYPOINT_NAMES),
                    **self._rate,
                    **columns,  # type: ignore[arg-type]
                )
                complete(archive)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            raise SinkError(
                f"{self._path}: {error.strerror or error}; its {count} rows are in {self._rows_path}, which "
                "numpy.load opens"
            ) from error
        del rows, columns
        self._rows_path.unlink()

    def _write_header(self, file: BinaryIO) -> None:
        """The header of an npy file for the rows so far, always of the same length."""
        text = repr({"descr": ROW.descr, "fortran_order": False, "shape": (self._count,)})
        magic = b"\x93NUMPY\x02\x00" + (_HEADER_BYTES - 12).to_bytes(4, "little")
        file.flush()
        file.seek(0)
        file.write(magic + text.encode().ljust(_HEADER_BYTES - 13) + b"\n")
        file.seek(0, os.SEEK_END)
        file.flush()
