"""The embedded clip, rendered: one person whose motion is known exactly, whom no network was trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.defaults import ASSETS
from kinestream.geometry.camera import Camera

CLIP: Final = ASSETS / "demo.mp4"
TRUTH: Final = ASSETS / "demo.npz"


@dataclass(frozen=True, eq=False)
class ClipTruth:
    """The truth of a rendered clip of T frames."""

    camera: Camera  # intrinsics of the clip
    joints_cam_m: npt.NDArray[np.float32]  # (T, 24, 3)
    keypoints_px: npt.NDArray[np.float32]  # (T, 23, 2), empty where the file has none
    times_s: npt.NDArray[np.float64]  # (T,)

    @classmethod
    def load(cls, path: Path = TRUTH) -> "ClipTruth":
        """Read a file as `TRUTH`. Raises ``OSError`` and ``KeyError``."""
        with np.load(path, allow_pickle=False) as content:
            (width, height), K = content["size_px"].tolist(), content["intrinsics"].tolist()
            return cls(
                Camera(width, height, (K[0][0], K[1][1]), (K[0][2], K[1][2])),
                content["joints_cam_m"],
                content["keypoints_px"] if "keypoints_px" in content else np.empty((0, 23, 2), np.float32),
                content["t_ns"] / 1e9,
            )
