"""Where the camera stands: intrinsics, tilt, and where in its picture a person goes."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinestream.geometry.camera import Camera
from kinestream.trainer.scenes.config import SceneConfig

ADULT_M = 1.7
PELVIS_M = 0.93
"""Height of a standing adult, and of the pelvis."""

_LEVEL = np.diag([1.0, -1.0, -1.0])  # camera from world (y up) for a level camera that looks along -z

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A camera and how it is tilted: `rotation` (3, 3) maps world directions (y up) to the camera's."""

    camera: Camera
    rotation: Matrix

    @property
    def up(self) -> Matrix:
        """Upward direction (3,) in the camera frame."""
        return self.rotation[:, 1]


@dataclass(frozen=True)
class Shot:
    """A view and where the pelvis of the person it was made for goes, (3,) in the camera frame."""

    view: View
    pelvis_m: Matrix


def random_shot(config: SceneConfig, rng: np.random.Generator) -> Shot:
    """A camera at a random height that looks at a standing adult at a random place of its picture.

    Lens, height, size of the person and its place are drawn; distance and tilt follow, so that the floor
    under the person is where the camera's height puts it.
    """
    width, height = config.image_sizes_px[int(rng.integers(len(config.image_sizes_px)))]
    camera = Camera.from_fov(width, height, fov_deg=float(rng.uniform(*config.fov_deg)))
    depth = max(
        camera.focal_px[1] * ADULT_M / (math.exp(rng.uniform(*np.log(config.size_range))) * height),
        config.min_depth_m,
    )
    if rng.random() < config.truncation_share:
        across, down = rng.uniform(-0.05, 1.05), rng.uniform(0.0, 1.15)
    else:
        across, down = rng.uniform(0.2, 0.8), np.clip(rng.normal(0.53, 0.1), 0.25, 0.8)
    pixel = float(across * width), float(down * height)
    low, mode, high = config.camera_height_m
    above_m = float(rng.triangular(low, mode, high)) - PELVIS_M
    fallen = math.atan2(above_m, depth)  # angle of the pelvis under the horizon
    shown = math.atan2(pixel[1] - camera.center_px[1], camera.focal_px[1])  # and under the optical axis
    pitch = float(np.clip(fallen - shown, *np.radians(config.pitch_deg)))
    roll = math.radians(config.roll_sigma_deg) * float(rng.normal())
    return Shot(View(camera, tilted(pitch, roll)), camera.unproject(pixel, depth))


def tilted(pitch_rad: float, roll_rad: float) -> Matrix:
    """Camera from world for a camera that looks down by `pitch_rad` and is rolled by `roll_rad`."""
    return turn(2, roll_rad) @ turn(0, pitch_rad) @ _LEVEL


def turn(axis: int, angle_rad: float) -> Matrix:
    """Rotation (3, 3) by an angle about axis 0 (x), 1 (y) or 2 (z)."""
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i] = matrix[j, j] = cosine
    matrix[i, j], matrix[j, i] = -sine, sine
    return matrix
