"""Figures that other people published, each table one protocol, none of them measured here.

They are collected from papers, model cards and comparison tables and never stand in a table with our own
figures: data, bodies, joints, hardware and alignment differ.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class PublishedTable:
    """One protocol.

    Attributes:
        title, protocol: what was measured, and how.
        columns: names with units.
        rows: method, values as printed (empty where not stated), source.
    """

    title: str
    protocol: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...], str], ...]


_HUMAN3R = "comparison table of the Human3R paper"
_ONLINE = "comparison tables of the OnlineHMR paper"

PUBLISHED: Final = (
    PublishedTable(
        "3DPW, camera space, with 3DPW in training for most",
        "Errors in mm, 14 joints; PA after Procrustes alignment, Accel in mm per frame squared.",
        ("PA-MPJPE", "MPJPE", "PVE", "Accel"),
        (
            ("HMR2.0", ("44.4", "69.8", "82.2", "18.1"), "as quoted in later comparison tables"),
            ("TRACE (online)", ("50.9", "79.1", "95.4", "28.6"), "as quoted in later comparison tables"),
            ("WHAM", ("35.9", "57.8", "68.7", "6.6"), "as quoted in later comparison tables"),
            ("GVHMR", ("36.2", "55.6", "67.2", "5.0"), "as quoted in later comparison tables"),
        ),
    ),
    PublishedTable(
        "3DPW, camera space, without 3DPW in training",
        "Errors in mm, 14 joints.",
        ("PA-MPJPE", "MPJPE", "PVE"),
        (
            ("VIBE", ("56.5", "93.5", ""), "VIBE repository and paper; MPJPE as quoted later"),
            ("HMR2.0a", ("44.4", "69.8", "82.2"), _HUMAN3R),
            ("TokenHMR", ("44.3", "71.0", "84.6"), _HUMAN3R),
            ("CameraHMR", ("38.5", "62.1", "72.9"), _HUMAN3R),
            ("NLF", ("37.3", "60.3", "71.4"), _HUMAN3R),
            ("Human3R (online)", ("44.1", "71.2", "84.9"), _HUMAN3R),
        ),
    ),
    PublishedTable(
        "EMDB-1, camera space",
        "Errors in mm, 24 joints; Accel in mm per frame squared.",
        ("PA-MPJPE", "MPJPE", "PVE", "Accel"),
        (
            ("HMR2.0", ("60.7", "98.3", "120.8", "19.9"), _ONLINE),
            ("TRAM", ("45.7", "74.4", "86.6", "4.9"), _ONLINE),
            ("TRACE (online)", ("71.5", "110.0", "129.6", "25.5"), _ONLINE),
            ("OnlineHMR (online)", ("46.0", "74.0", "86.1", "9.0"), _ONLINE),
        ),
    ),
    PublishedTable(
        "Speed of whole systems",
        "As each source states; graphics cards differ and are partly not named.",
        ("frames/s", "latency"),
        (
            ("WHAM with DPVO", ("9.3", "26 s"), _ONLINE),
            ("TRAM", ("2.1", "116 s"), _ONLINE),
            ("Human3R (online)", ("4.8", "0.21 s"), _ONLINE),
            ("OnlineHMR (online)", ("3.3", "0.30 s"), _ONLINE),
            ("HMR2.0, network alone, RTX 3090", ("", "32 ms"), "github.com/shubham-goel/4D-Humans, issue 92"),
        ),
    ),
    PublishedTable(
        "BlazePose GHUM (MediaPipe Pose), yoga set",
        "2D: mAP; 3D: mean absolute error in mm against GHUM fits, not motion capture; time on a Pixel 4.",
        ("2D mAP", "3D MAE mm", "CPU ms", "GPU ms"),
        (
            ("heavy", ("68.1", "36", "147", "22"), "BlazePose GHUM Holistic paper"),
            ("full", ("62.6", "39", "40", "9"), "BlazePose GHUM Holistic paper"),
            ("lite", ("45.0", "45", "25", "8"), "BlazePose GHUM Holistic paper"),
        ),
    ),
)
