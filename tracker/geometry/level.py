"""The level world under a camera: which way is up, and how far below the camera the floor is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinestream.kernels.array_types import AnyArray, Float64Array


def level_from_camera(tilt_rad: float, roll_rad: float = 0.0) -> Float64Array:
    """Rotation (3, 3) from the camera's axes (x right, y down, z forward) to the same axes held level.

    Forward keeps its heading. ``tilt_rad``: how far the camera looks down. ``roll_rad``: how far it is turned
    about its line of sight; what is upright leans to the right of the picture by as much.
    """
    c, s = math.cos(tilt_rad), math.sin(tilt_rad)
    cr, sr = math.cos(roll_rad), math.sin(roll_rad)
    return np.array([[cr, sr, 0.0], [-sr * c, cr * c, s], [sr * s, -cr * s, c]])


@dataclass(frozen=True)
class Ground:
    """Gravity and floor as seen from a camera.

    Attributes:
        tilt_rad: how far the camera looks down, -pi/2 to pi/2.
        roll_rad: how far it is turned about its line of sight, -pi to pi.
        std_rad: standard deviation of the upward direction, along its worst axis.
        height_m: of the camera above the floor; negative for one below it.
        height_std_m: its standard deviation.

    Raises ``ValueError`` naming the number that is impossible.
    """

    tilt_rad: float
    roll_rad: float
    std_rad: float
    height_m: float
    height_std_m: float

    def __post_init__(self) -> None:
        check_tilt(self.tilt_rad, self.roll_rad)
        if not (math.isfinite(self.height_m) and 0 <= self.std_rad < math.inf > self.height_std_m >= 0):
            raise ValueError(f"ground: expected finite numbers, deviations from 0, found {self}")

    @classmethod
    def of(cls, up: AnyArray, *, std_rad: float, height_m: float, height_std_m: float) -> Ground:
        """With the upward direction (3,) in the camera frame."""
        x, y, z = (float(value) for value in up)
        tilt = math.atan2(-z, math.hypot(x, y))
        return cls(tilt, math.atan2(x, -y), std_rad, height_m, height_std_m)

    @property
    def up(self) -> Float64Array:
        """Upward direction (3,) in the camera frame."""
        down: Float64Array = level_from_camera(self.tilt_rad, self.roll_rad)[1]
        return -down


def check_tilt(tilt_rad: float, roll_rad: float) -> None:
    """Raise ``ValueError`` for angles at which no camera is held."""
    if not abs(tilt_rad) <= math.pi / 2:
        raise ValueError(f"tilt: expected -90 to 90 degrees, found {math.degrees(tilt_rad):g}")
    if not abs(roll_rad) <= math.pi:
        raise ValueError(f"roll: expected -180 to 180 degrees, found {math.degrees(roll_rad):g}")
