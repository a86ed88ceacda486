"""The perspective camera: projection with lens distortion, and look-at poses for renders.

Camera frame as in OpenCV: x right, y down, z forward, metres. Pixel centres have integer
coordinates. Distortion follows OpenCV's order ``k1 k2 p1 p2 [k3 [k4 k5 k6]]`` (the ROS models
``plumb_bob`` and ``rational_polynomial``).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt

from kinestream.defaults import DEFAULT_FOV_DEG
from kinestream.geometry.boxes import cut
from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array

if TYPE_CHECKING:  # who only listens to a stream has no use for torch, which takes seconds to load
    from torch import Tensor

Array = TypeVar("Array", "Tensor", AnyArray)
MIN_DEPTH_M = 1e-3
"""Points nearer to the image plane than this, or behind it, have no projection."""

_DISTORTION_LENGTHS = (0, 4, 5, 8)


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one camera.

    Attributes:
        width_px, height_px: size of the image.
        focal_px: (fx, fy).
        center_px: principal point (cx, cy).
        distortion: (), or 4, 5 or 8 OpenCV coefficients.

    Raises ``ValueError`` naming the field when a value is impossible.
    """

    width_px: int
    height_px: int
    focal_px: tuple[float, float]
    center_px: tuple[float, float]
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.width_px < 1 or self.height_px < 1:
            raise ValueError(f"Camera: width_px and height_px must be positive, found {self._size()}")
        if not all(math.isfinite(f) and f > 0 for f in self.focal_px) or len(self.focal_px) != 2:
            raise ValueError(f"Camera: focal_px must be two positive numbers, found {self.focal_px}")
        if not all(math.isfinite(c) for c in self.center_px) or len(self.center_px) != 2:
            raise ValueError(f"Camera: center_px must be two finite numbers, found {self.center_px}")
        if len(self.distortion) not in _DISTORTION_LENGTHS or not all(map(math.isfinite, self.distortion)):
            raise ValueError(
                f"Camera: distortion must be 0, 4, 5 or 8 finite OpenCV coefficients, found {self.distortion}"
            )

    def _size(self) -> str:
        return f"{self.width_px}x{self.height_px}"

    @classmethod
    def from_fov(
        cls,
        width_px: int,
        height_px: int,
        *,
        fov_deg: float = DEFAULT_FOV_DEG,
        axis: Literal["diagonal", "horizontal", "vertical"] = "diagonal",
    ) -> Camera:
        """An ideal camera with square pixels, a centred axis and the given field of view.

        >>> camera = Camera.from_fov(1280, 720, fov_deg=90, axis="horizontal")
        >>> camera.focal_px, camera.center_px
        ((640.0..., 640.0...), (639.5, 359.5))
        >>> camera.project([[0.0, 0.0, 2.0], [1.0, 0.0, 2.0]])
        array([[639.5, 359.5], [959.5, 359.5]]...)
        """
        extents = {
            "diagonal": math.hypot(width_px, height_px),
            "horizontal": width_px,
            "vertical": height_px,
        }
        if axis not in extents:
            raise ValueError(f"Camera.from_fov: axis must be one of {', '.join(extents)}, found {axis!r}")
        if not 1 <= fov_deg <= 170:
            raise ValueError(f"Camera.from_fov: fov_deg must lie within 1 to 170 degrees, found {fov_deg}")
        focal = extents[axis] / 2 / math.tan(math.radians(fov_deg) / 2)
        return cls(width_px, height_px, (focal, focal), ((width_px - 1) / 2, (height_px - 1) / 2))

    @property
    def K(self) -> Float64Array:
        """The 3x3 matrix of intrinsics."""
        (fx, fy), (cx, cy) = self.focal_px, self.center_px
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)

    @property
    def fov_deg(self) -> tuple[float, float]:
        """Horizontal and vertical field of view of the undistorted camera, in degrees."""
        return tuple(
            math.degrees(math.atan((c + 0.5) / f) + math.atan((size - 0.5 - c) / f))
            for size, f, c in zip((self.width_px, self.height_px), self.focal_px, self.center_px, strict=True)
        )  # type: ignore[return-value]

    def resized(self, width_px: int, height_px: int) -> Camera:
        """The same camera after its picture was scaled to another size."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        (fx, fy), (cx, cy) = self.focal_px, self.center_px
        return dataclasses.replace(
            self,
            width_px=width_px,
            height_px=height_px,
            focal_px=(fx * sx, fy * sy),
            center_px=((cx + 0.5) * sx - 0.5, (cy + 0.5) * sy - 0.5),
        )

    def project(self, points_cam_m: Array) -> Array:
        """Points (..., 3) in the camera frame -> pixels (..., 2); NaN within ``MIN_DEPTH_M`` or behind."""
        given: Any = points_cam_m
        if hasattr(given, "detach"):
            import torch

            intrinsics = torch.from_numpy(self.K).to(given)
            projected: Any = project_points(given, intrinsics, self.distortion)
            return projected  # type: ignore[no-any-return]
        points = np.asarray(given, np.float64)
        if points.shape[-1:] != (3,):
            raise ValueError(f"Camera.project: expected points (..., 3), found {points.shape}")
        depth = np.where(points[..., 2] >= MIN_DEPTH_M, points[..., 2], np.nan)
        x, y = points[..., 0] / depth, points[..., 1] / depth
        if self.distortion:
            x, y = _distort(x, y, self.distortion)
        return cast(Array, np.stack([x, y], -1) * self.focal_px + self.center_px)

    def within_picture(self, boxes_xyxy_px: Float32Array, *, room: float = 0.0) -> Float32Array:
        """Boxes (..., 4), left, top, right, bottom, cut to the picture's edges.

        With ``room``, a share of the longer side of what is within, as much more may lie outside.
        """
        return cut(boxes_xyxy_px, self.width_px, self.height_px, room=room)

    def unproject(self, points_px: npt.ArrayLike, depth_m: npt.ArrayLike = 1.0) -> Float64Array:
        """Pixels (..., 2) and depths (...) along z -> points (..., 3) in the camera frame."""
        pixels = np.asarray(points_px, np.float64)
        if pixels.shape[-1:] != (2,):
            raise ValueError(f"Camera.unproject: expected points_px (..., 2), found {pixels.shape}")
        plane = (pixels - self.center_px) / self.focal_px
        if self.distortion and pixels.size:
            import cv2

            flat = np.ascontiguousarray(pixels.reshape(-1, 1, 2))
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
            coefficients = np.array(self.distortion, np.float64)
            undistorted = cv2.undistortPoints(flat, self.K, coefficients, criteria=criteria)
            plane = np.asarray(undistorted, np.float64).reshape(pixels.shape)
        rays = np.concatenate([plane, np.ones((*pixels.shape[:-1], 1))], -1)
        scaled: Float64Array = rays * np.asarray(depth_m, np.float64)[..., None]
        return scaled

    def __repr__(self) -> str:
        """Size, intrinsics and field of view in one line."""
        (fx, fy), (cx, cy) = self.focal_px, self.center_px
        horizontal, vertical = self.fov_deg
        lens = f", distortion={self.distortion}" if self.distortion else ""
        return (
            f"Camera({self._size()} px, focal=({fx:.1f}, {fy:.1f}) px, center=({cx:.1f}, {cy:.1f}) px, "
            f"fov={horizontal:.1f}x{vertical:.1f} deg{lens})"
        )


def project_points(points_cam_m: Tensor, intrinsics: Tensor, distortion: tuple[float, ...] = ()) -> Tensor:
    """Points (..., 3) in the camera frame -> pixels (..., 2), differentiable.

    ``intrinsics`` (..., 3, 3) broadcasts against the leading dimensions of the points but the last:
    points (B, N, 3) go with one (3, 3) or with (B, 3, 3). Points within ``MIN_DEPTH_M`` of the
    image plane or behind it give NaN with zero gradients.
    """
    import torch

    if points_cam_m.shape[-1:] != (3,) or intrinsics.shape[-2:] != (3, 3):
        raise ValueError(
            "project_points: expected points (..., 3) and intrinsics (..., 3, 3), "
            f"found {tuple(points_cam_m.shape)} and {tuple(intrinsics.shape)}"
        )
    depth = points_cam_m[..., 2:]
    hidden = ~(depth >= MIN_DEPTH_M)
    plane = points_cam_m[..., :2] / torch.where(hidden, torch.ones_like(depth), depth)
    if distortion:
        plane = torch.stack(_distort(plane[..., 0], plane[..., 1], distortion), -1)
    if intrinsics.ndim > 2:
        intrinsics = intrinsics.unsqueeze(-3)
    pixels = (intrinsics[..., :2, :2] @ plane[..., None]).squeeze(-1) + intrinsics[..., :2, 2]
    return torch.where(hidden, torch.full_like(pixels, math.nan), pixels)


def _distort(x: Any, y: Any, distortion: tuple[float, ...]) -> tuple[Any, Any]:
    """Undistorted coordinates (...) on the plane at depth one, arrays or tensors -> distorted ones."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *[0.0] * (8 - len(distortion)))
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def look_at(
    eye_m: npt.ArrayLike, target_m: npt.ArrayLike, *, up: npt.ArrayLike = (0.0, 1.0, 0.0)
) -> tuple[Float64Array, Float64Array]:
    """Pose of a camera at ``eye_m`` that looks at ``target_m`` with ``up`` upwards in its picture.

    Returns the rotation (3, 3) and translation (3,) with ``x_cam = rotation @ x_world + translation``.
    Raises ``ValueError`` where eye, target and up define no picture.
    """
    eye, target, upward = (np.asarray(v, np.float64) for v in (eye_m, target_m, up))
    forward = target - eye
    right = np.cross(forward, upward)
    if np.linalg.norm(right) <= 1e-9 * np.linalg.norm(forward) * np.linalg.norm(upward):
        raise ValueError(f"look_at: the view from {eye} to {target} is empty or parallel to up={upward}")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation, -rotation @ eye
