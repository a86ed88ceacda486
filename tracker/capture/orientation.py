"""How pictures were turned, mirrored and stretched on their way from sensor to reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from kinestream.geometry.camera import Camera
    from kinestream.kernels.array_types import RgbImage

_ROTATIONS = (None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to turn and mirror a picture.

    Attributes:
        quarter_turns: clockwise, 0 to 3.
        mirrored: left and right change places, after the turn.
    """

    quarter_turns: int = 0
    mirrored: bool = False

    @classmethod
    def from_degrees(cls, rotate: int, *, flip: bool = False) -> Orientation:
        """``rotate`` degrees clockwise, then mirrored if ``flip``."""
        if rotate not in (0, 90, 180, 270):
            raise ValueError(f"rotate (--rotate): expected 0, 90, 180 or 270 degrees, found {rotate}")
        return cls(rotate // 90, flip)

    @classmethod
    def from_display_matrix(cls, values: Sequence[int]) -> Orientation | None:
        """Of the nine 16.16 numbers of an MP4 display matrix; None for any but the eight."""
        a, b, _, c, d = values[:5]
        scale = max(map(abs, (a, b, c, d)), default=0) or 1
        wanted = np.array([[a, c], [b, d]]) / scale
        every = (cls(turns, mirrored) for mirrored in (False, True) for turns in range(4))
        return next((one for one in every if np.abs(one._matrix() - wanted).max() < 0.02), None)

    def size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height of a picture that had these before."""
        return (height_px, width_px) if self.quarter_turns % 2 else (width_px, height_px)

    def image(self, image: RgbImage) -> RgbImage:
        """The picture (H, W, 3), turned and mirrored."""
        turn = _ROTATIONS[self.quarter_turns]
        turned = image if turn is None else cv2.rotate(image, turn)
        shown: RgbImage = cv2.flip(turned, 1) if self.mirrored else turned  # type: ignore[assignment]
        return shown

    def camera(self, camera: Camera) -> Camera:
        """Intrinsics of the pictures of ``camera``, turned and mirrored."""
        matrix = self._matrix()
        width, height = self.size(camera.width_px, camera.height_px)
        middle = (np.array([camera.width_px, camera.height_px]) - 1) / 2
        center = matrix @ (camera.center_px - middle) + (np.array([width, height]) - 1) / 2
        lens = list(camera.distortion)
        if lens:  # the tangential part is a vector in the picture, (p2, p1)
            lens[3], lens[2] = (float(value) for value in matrix @ (lens[3], lens[2]))
        return dataclasses.replace(
            camera,
            width_px=width,
            height_px=height,
            focal_px=self.size(*camera.focal_px),  # type: ignore[arg-type]
            center_px=(float(center[0]), float(center[1])),
            distortion=tuple(lens),
        )

    def _matrix(self) -> npt.NDArray[np.int_]:
        """(2, 2) that takes directions in the picture before, x right and y down, to those after."""
        turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), self.quarter_turns)
        matrix: npt.NDArray[np.int_] = np.diag([-1 if self.mirrored else 1, 1]) @ turn
        return matrix


UPRIGHT = Orientation()


@dataclass(frozen=True)
class PictureGeometry:
    """What was done to the stored pictures before they were handed out.

    Attributes:
        pixel_aspect: width over height of a stored pixel, by which pictures were unsquashed.
        stored: how the source asks to be shown, from its display matrix.
        chosen: what the user asked for beyond that (``--rotate``, ``--flip``).
    """

    pixel_aspect: float = 1.0
    stored: Orientation = UPRIGHT
    chosen: Orientation = UPRIGHT

    def fit(self, camera: Camera, width_px: int, height_px: int) -> Camera | None:
        """``camera`` for pictures handed out at this size; None where it was calibrated at another shape.

        A calibration describes the pictures before ``chosen``: as a player shows them or as they are stored,
        in each case with square or with stored pixels. Its shape tells which.
        """
        shown = self.chosen.size(width_px, height_px)
        raw = self.stored.size(*shown)
        aspect = 1 / self.pixel_aspect if self.stored.quarter_turns % 2 else self.pixel_aspect
        ways = [
            (shown, 1.0, UPRIGHT),
            (raw, 1.0, self.stored),
            (shown, aspect, UPRIGHT),
            (raw, self.pixel_aspect, self.stored),
        ]
        for (width, height), squash, turn in ways:
            if abs(camera.width_px * squash * height - camera.height_px * width) <= max(width, height):
                return self.chosen.camera(turn.camera(camera.resized(width, height)))
        return None


AS_STORED = PictureGeometry()


def unsquashed_size(width_px: int, height_px: int, pixel_aspect: float) -> tuple[int, int]:
    """Size with square pixels: the shorter side of a stored pixel is stretched, so that no detail is lost."""
    if pixel_aspect >= 1:
        return round(width_px * pixel_aspect), height_px
    return width_px, round(height_px / pixel_aspect)
