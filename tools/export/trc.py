"""Track row column (.trc): marker trajectories for OpenSim and other biomechanics tools."""

from pathlib import Path

import numpy as np

from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from kinestream.tools.export.motion import Y_UP, Motion

KEYPOINT_PREFIX = "skin_"
"""Surface keypoints share some names with joints (left_hip)."""
MARKERS = (*JOINT_NAMES, *(KEYPOINT_PREFIX + name for name in KEYPOINT_NAMES))


def write_trc(path: Path, motion: Motion) -> None:
    """Write one take: 24 joints and 23 surface keypoints. Metres; x right, y up, z towards the viewer.

    ``Time`` counts from the start of the recording, so that several people stay in step. Raises ``OSError``.
    """
    count, rate = len(motion.t_s), f"{motion.fps:.6f}"
    points = np.concatenate([motion.joints_m, motion.keypoints_m], axis=1) @ Y_UP.T
    axes = [f"{axis}{i}" for i in range(1, len(MARKERS) + 1) for axis in "XYZ"]
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{count}\t{len(MARKERS)}\tm\t{rate}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(MARKERS) + "\t\t",
        "\t\t" + "\t".join(axes),
        "",
    ]
    for number, (t_s, row) in enumerate(zip(motion.t_s, points, strict=True), start=1):
        lines.append(f"{number}\t{t_s:.6f}\t" + "\t".join(f"{value:.6f}" for value in row.ravel()))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
