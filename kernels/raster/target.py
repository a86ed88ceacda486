"""What is drawn into: the sample buffers of one picture, and the tone curve that ends it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import Float32Array, Float64Array

NEAR_M: Final = 0.05
"""Surfaces nearer than this are cut off."""

TONE_STEPS: Final = 4096
TONE_MAX: Final = 16.0

_NOWHERE: Final = (1 << 30, -1, 1 << 30, -1)


class Target:
    """Buffers of a picture with `samples` x `samples` samples per pixel.

    depth_m f32 (inf where empty), triangle i32 (-1 where empty; triangles count on over several
    draws), part u8 (0 where empty, else part + 1), person u8 (0 where empty, else person + 1), all of
    shape (H * samples, W * samples); colour f32 of shape (.., .., 3) in linear light, undefined
    where empty. Pixel centres lie at integer coordinates, as in OpenCV.
    """

    def __init__(self, height_px: int, width_px: int, *, samples: int = 1) -> None:
        if min(height_px, width_px, samples) < 1:
            raise ValueError(
                f"a target needs a pixel and a sample at least; found {height_px} x {width_px} x {samples}"
            )
        self.samples = samples
        shape = (height_px * samples, width_px * samples)
        self.depth_m = np.full(shape, np.inf, np.float32)
        self.triangle = np.full(shape, -1, np.int32)
        self.part = np.zeros(shape, np.uint8)
        self.person = np.zeros(shape, np.uint8)
        self.colour = np.zeros((*shape, 3), np.float32)
        self.num_triangles = 0
        self._touched = _NOWHERE

    @property
    def height_px(self) -> int:
        """Height of the picture in pixels."""
        return int(self.depth_m.shape[0] // self.samples)

    @property
    def width_px(self) -> int:
        """Width of the picture in pixels."""
        return int(self.depth_m.shape[1] // self.samples)

    def clear(self) -> None:
        """Forget what was drawn."""
        self.depth_m.fill(np.inf)
        self.triangle.fill(-1)
        self.part.fill(0)
        self.person.fill(0)
        self.num_triangles = 0
        self._touched = _NOWHERE

    def touch(self, window: tuple[int, int, int, int]) -> None:
        """Note that samples in the window x0, x1, y0, y1 (ends included) may have been drawn."""
        x0, x1, y0, y1 = self._touched
        self._touched = min(x0, window[0]), max(x1, window[1]), min(y0, window[2]), max(y1, window[3])

    def touched_px(self) -> tuple[int, int, int, int]:
        """Pixels x0, x1, y0, y1 (ends included) of all that was drawn; x1 < x0 where nothing was."""
        x0, x1, y0, y1 = self._touched
        if x1 < x0:
            return 0, -1, 0, -1
        return x0 // self.samples, x1 // self.samples, y0 // self.samples, y1 // self.samples

    def per_pixel(self, buffer: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """One sample (the one at or after the centre) of each pixel of a buffer, as a view."""
        half = self.samples // 2
        return buffer[half :: self.samples, half :: self.samples]

    def intrinsics(self, K: npt.ArrayLike) -> Float64Array:
        """Numbers (fx, fy, cx, cy, 1 / fx, 1 / fy) of camera matrix K (3, 3), in units of samples.

        Raises ValueError for a matrix that is no pinhole camera without skew.
        """
        k = np.asarray(K, np.float64)
        if k.shape != (3, 3) or not np.isfinite(k).all() or k[0, 0] <= 0 or k[1, 1] <= 0:
            raise ValueError(
                f"K must be a finite (3, 3) camera matrix with positive focal lengths; found {k}"
            )
        if abs(k[0, 1]) > 1e-9 * k[0, 0]:
            raise ValueError(f"K must have no skew; found {k[0, 1]} at row 0, column 1")
        centre = (k[:2, 2] + 0.5) * self.samples - 0.5
        focal = k.diagonal()[:2] * self.samples
        return np.concatenate([focal, centre, 1.0 / focal])

    def check_background(self, background: npt.NDArray[np.generic]) -> None:
        """Raise ValueError unless a background has the picture's shape (H, W, 3) and is uint8."""
        shape = (self.height_px, self.width_px, 3)
        if background.shape != shape or background.dtype != np.uint8:
            raise ValueError(
                f"the background must be uint8 of shape {shape}; found {background.dtype} {background.shape}"
            )

    def coverage(self) -> Float32Array:
        """Share of the samples of each pixel that is covered, (H, W) in 0..1."""
        blocks = (self.triangle >= 0).reshape(self.height_px, self.samples, self.width_px, self.samples)
        return np.asarray(blocks.mean((1, 3)), np.float32)


@dataclass(frozen=True)
class ToneCurve:
    """Display value of linear light, as a table over its square root.

    table (TONE_STEPS,) f32: value in 0..255 for light (i / (TONE_STEPS - 1))² · TONE_MAX.
    """

    table: Float32Array

    @classmethod
    def srgb(cls, *, exposure: float = 1.0) -> "ToneCurve":
        """Plain sRGB encoding: light 1 becomes white, more is clipped."""
        return cls((255 * srgb_encode(np.clip(exposure * tone_inputs(), 0, 1))).astype(np.float32))


def tone_inputs() -> Float64Array:
    """Linear light at each entry of a tone table."""
    return np.asarray(TONE_MAX * np.square(np.arange(TONE_STEPS) / (TONE_STEPS - 1)))


def srgb_encode(linear: npt.ArrayLike) -> Float64Array:
    """SRGB value in 0..1 of linear light in 0..1 (IEC 61966-2-1)."""
    x = np.asarray(linear, np.float64)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-12) ** (1 / 2.4) - 0.055)


def srgb_decode(value: npt.ArrayLike) -> Float64Array:
    """Linear light in 0..1 of an sRGB value in 0..1 (IEC 61966-2-1)."""
    x = np.asarray(value, np.float64)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


SRGB_TO_LINEAR: Final = srgb_decode(np.arange(256) / 255).astype(np.float32)
"""Linear light of each 8-bit sRGB value."""
