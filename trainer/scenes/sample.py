"""What a scene gives: a picture and exact labels."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.geometry.camera import Camera

OUTSIDE: Final = 0
HIDDEN: Final = 1
SEEN: Final = 2
"""Visibility of a keypoint: outside of the picture, hidden by something, seen."""


@dataclass(frozen=True, repr=False)
class PersonLabels:
    """Ground truth of one person. Camera frame: OpenCV, metres. Pixels: those of the full picture."""

    rotations: npt.NDArray[np.float32]  # (24, 3, 3); [0] camera from pelvis, the rest relative to the parent
    betas: npt.NDArray[np.float32]  # (10,)
    translation_m: npt.NDArray[np.float32]  # (3,) pelvis joint in the camera frame
    joints_cam_m: npt.NDArray[np.float32]  # (24, 3)
    keypoints_cam_m: npt.NDArray[np.float32]  # (23, 3)
    keypoints_px: npt.NDArray[np.float32]  # (23, 2); NaN behind the camera
    visibility: npt.NDArray[np.uint8]  # (23,) OUTSIDE, HIDDEN or SEEN
    box_xyxy_px: npt.NDArray[np.float32]  # (4,) of the whole body as far as it is inside of the picture

    def __repr__(self) -> str:
        return f"PersonLabels({_shapes(self)})"


@dataclass(frozen=True, repr=False)
class Frame:
    """A picture: image (H, W, 3) u8 RGB; part_map (H, W) u8: 0 background, else part + 1."""

    image: npt.NDArray[np.uint8]
    part_map: npt.NDArray[np.uint8]
    person: PersonLabels
    camera: Camera
    seed: int
    t_ns: int

    def __repr__(self) -> str:
        return f"Frame({_shapes(self)})"


def _shapes(value: object) -> str:
    parts = (
        f"{name}={item.shape}" if isinstance(item, np.ndarray) else f"{name}={item!r}"
        for name, item in vars(value).items()
    )
    return ", ".join(parts)
