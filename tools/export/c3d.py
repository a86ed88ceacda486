"""Coordinate 3D (.c3d): marker trajectories for Visual3D, Vicon Nexus, Mokka and other laboratory tools."""

from pathlib import Path

import numpy as np

from kinestream.tools.export.motion import Z_UP, Motion
from kinestream.tools.export.trc import MARKERS

MM_PER_M = 1000.0
_BLOCK_BYTES, _POINT_BYTES = 512, 16


def write_c3d(path: Path, motion: Motion) -> None:
    """Write one take: 24 joints and 23 surface keypoints. Millimetres; x right, y forward, z up.

    The first frame is numbered from the start of the recording, so that several people stay in step. Raises
    ``OSError``, and ``ImportError`` naming the extra where ezc3d is missing.
    """
    try:
        import ezc3d
    except ImportError as error:
        raise ImportError("C3D needs the library ezc3d; pip install 'kinestream[export]'") from error
    points_mm = MM_PER_M * np.concatenate([motion.joints_m, motion.keypoints_m], axis=1) @ Z_UP.T
    count = len(points_mm)
    content = ezc3d.c3d()
    point = content["parameters"]["POINT"]
    point["RATE"]["value"] = [motion.fps]
    point["UNITS"]["value"] = ["mm"]
    point["LABELS"]["value"] = list(MARKERS)
    content["header"]["points"]["first_frame"] = round(float(motion.t_s[0]) * motion.fps)
    content.add_parameter("POINT", "X_SCREEN", ["+X"])
    content.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    content["data"]["points"] = np.concatenate(
        [points_mm.transpose(2, 1, 0), np.ones((1, len(MARKERS), count))], axis=0
    )
    try:
        content.write(str(path))
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path}: cannot be written ({error})") from error
    _check_whole(path, count)


def _check_whole(path: Path, count: int) -> None:
    """Raise ``OSError`` where the file is cut short: the library says nothing of a full disk."""
    with open(path, "rb") as file:
        head = file.read(_BLOCK_BYTES)
    data_at = (int.from_bytes(head[16:18], "little") - 1) * _BLOCK_BYTES
    if data_at < 0 or path.stat().st_size < data_at + count * len(MARKERS) * _POINT_BYTES:
        raise OSError(f"{path}: was cut short; is the disk full?")
