"""From a box in the picture to what the network is fed: the crop, and the virtual camera that looks at it.

The *virtual camera* stands where the real one stands and is turned towards the centre of the crop, by the
smallest rotation. Seen from there, body and crop are free of the place in the picture; ``half_extent`` s (the
tangent of half the crop's angle) is all that remains of focal length and box size. A lens's distortion is
taken as constant over the crop.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kinestream.geometry.camera import Camera
from kinestream.geometry.crop import CropTransform
from kinestream.kernels.array_types import Float64Array

_PROBES = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)])
"""Crop coordinates at which a distorted lens is sampled."""


@dataclass(frozen=True)
class VirtualView:
    """Virtual cameras of B crops.

    Attributes:
        to_virtual: (B, 3, 3) homogeneous crop coordinates (-1..1) -> plane of the virtual camera in half
            extents, so that the crop spans about -1..1 there too.
        half_extent: (B,) tangent of half the crop's angle.
        rotation: (B, 3, 3) virtual camera -> real camera.
    """

    to_virtual: Float64Array
    half_extent: Float64Array
    rotation: Float64Array

    @property
    def log_extent(self) -> Float64Array:
        """(B,) logarithm of the half extent."""
        return np.log(self.half_extent)

    def turned(self, angles_rad: Float64Array) -> "VirtualView":
        """The views of crops turned clockwise in the picture by quarter turns (B,), cameras with them."""
        cosine, sine = np.cos(angles_rad), np.sin(angles_rad)
        turn = np.zeros((len(cosine), 3, 3))
        turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1] = cosine, sine, -sine, cosine
        turn[:, 2, 2] = 1.0
        back = turn.transpose(0, 2, 1)
        return VirtualView(turn @ self.to_virtual @ back, self.half_extent, self.rotation @ back)


def virtual_view(intrinsics: npt.ArrayLike) -> VirtualView:
    """Virtual cameras of crops with intrinsics (B, 4): fx, fy, cx, cy in crop coordinates (-1..1)."""
    fx, fy, cx, cy = np.asarray(intrinsics, np.float64).T
    inverse = np.zeros((len(fx), 3, 3))
    inverse[:, 0, 0], inverse[:, 0, 2] = 1 / fx, -cx / fx
    inverse[:, 1, 1], inverse[:, 1, 2] = 1 / fy, -cy / fy
    inverse[:, 2, 2] = 1.0
    rotation = turn_towards(inverse[:, :, 2])
    to_virtual = rotation.transpose(0, 2, 1) @ inverse
    half_extent = _half_extent(to_virtual)
    to_virtual[:, :2] /= half_extent[:, None, None]
    return VirtualView(to_virtual, half_extent, rotation)


def view_of_crops(crops: Sequence[CropTransform], cameras: Iterable[Camera]) -> VirtualView:
    """Virtual cameras of crops, upright or turned by quarter turns, of pictures of these cameras."""
    upright = [replace(crop, angle_rad=0.0) for crop in crops]
    view = virtual_view([crop_intrinsics(*pair) for pair in zip(upright, cameras, strict=True)])
    return view.turned(np.array([crop.angle_rad for crop in crops]))


def crop_intrinsics(crop: CropTransform, camera: Camera) -> Float64Array:
    """Intrinsics (4,) of the crop of a picture of ``camera``, in crop coordinates (-1..1)."""
    half_px = crop.crop_px / 2
    probes_px = crop.to_full((_PROBES + 1) * half_px - 0.5)
    left, right, top, bottom = camera.unproject(probes_px)[:, :2]
    fx, fy = 1 / (right[0] - left[0]), 1 / (bottom[1] - top[1])
    middle = (left + right + top + bottom) / 4
    return np.array([fx, fy, -middle[0] * fx, -middle[1] * fy])


def to_pixels(points: npt.ArrayLike, crop: CropTransform) -> Float64Array:
    """Crop coordinates (..., 2) in -1..1 -> pixels (..., 2) of the full image."""
    return crop.to_full((np.asarray(points, np.float64) + 1) * (crop.crop_px / 2) - 0.5)


def covariance_to_pixels(covariance: npt.ArrayLike, crop: CropTransform) -> Float64Array:
    """Covariances (..., 3), xx, xy, yy in crop coordinates -> the same in pixels of the full image."""
    xx, xy, yy = np.moveaxis(np.asarray(covariance, np.float64), -1, 0)
    (a, b), (c, d) = crop.inverse_matrix[:, :2] * (crop.crop_px / 2)
    return np.stack(
        [
            a * a * xx + 2 * a * b * xy + b * b * yy,
            a * c * xx + (a * d + b * c) * xy + b * d * yy,
            c * c * xx + 2 * c * d * xy + d * d * yy,
        ],
        -1,
    )


def turn_towards(rays: Float64Array) -> Float64Array:
    """Smallest rotations (B, 3, 3) that take the optical axis to the rays (B, 3), which point forward."""
    x, y, z = (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).T
    shared = 1 / (1 + z)
    rows = [[1 - x * x * shared, -x * y * shared, x], [-x * y * shared, 1 - y * y * shared, y], [-x, -y, z]]
    turns: Float64Array = np.array(rows).transpose(2, 0, 1)
    return turns


def _half_extent(to_plane: Float64Array) -> Float64Array:
    """Mean distance (B,) of the midpoints of opposite edges of the crop, halved, in the virtual plane."""
    edges = np.array([(-1, 0, 1), (1, 0, 1), (0, -1, 1), (0, 1, 1)], np.float64)
    mapped = edges @ to_plane.transpose(0, 2, 1)
    plane = mapped[..., :2] / np.maximum(mapped[..., 2:], 0.05)
    spans = np.linalg.norm(plane[:, [1, 3]] - plane[:, [0, 2]], axis=-1)
    mean: Float64Array = spans.mean(-1) / 2
    return mean
