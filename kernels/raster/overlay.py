"""Body meshes drawn over a picture, shaded and with smooth edges, for viewers and documents."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array, RgbImage
from kinestream.kernels.raster import cpu
from kinestream.kernels.raster.mesh import plain_mesh
from kinestream.kernels.raster.normals import vertex_normals
from kinestream.kernels.raster.target import NEAR_M, Target, srgb_decode

PALETTE: Final[tuple[tuple[int, int, int], ...]] = (
    (120, 170, 235), (240, 150, 110), (130, 205, 140), (205, 150, 225), (240, 205, 105), (125, 210, 215),
)  # fmt: skip
"""Colours (RGB) that tell people apart; person i takes colour i modulo their number."""

PART_COLOURS: Final = np.array(
    [
        (0, 0, 0), (235, 78, 78), (78, 235, 115), (151, 78, 235),
        (235, 188, 78), (78, 235, 225), (235, 78, 209), (172, 235, 78),
        (78, 136, 235), (235, 78, 99), (78, 235, 94), (131, 78, 235),
        (235, 167, 78), (78, 235, 204), (235, 78, 230), (193, 235, 78),
    ],
    np.uint8,
)  # fmt: skip
"""One colour (RGB) per value of a part map, (16, 3); 0 is the background, black."""

_LAMPS: Final = (  # direction towards the lamp in the camera frame, strength
    ((-0.45, -0.7, -0.55), 0.55),
    ((0.75, -0.25, -0.6), 0.22),
    ((0.1, -0.3, 0.95), 0.3),
)
_AMBIENT: Final = 0.16


def overlay_meshes(
    image: RgbImage,
    vertices_m: Sequence[AnyArray],
    faces: AnyArray,
    K: npt.ArrayLike,
    *,
    colours: Sequence[tuple[int, int, int]] = PALETTE,
    opacity: float = 0.9,
    samples: int = 2,
) -> RgbImage:
    """Picture (H, W, 3) uint8 with people drawn over it; the argument is left as it is.

    vertices_m: one array (V, 3) per person, camera frame (OpenCV), metres. faces (F, 3), shared by all.
    K (3, 3): pinhole intrinsics in pixels. colours: 8-bit, in the channel order of the image.
    opacity: 0 shows the picture alone, 1 hides it under the people. samples: per pixel and axis.

    Raises ValueError for arrays of another shape or an opacity outside 0..1.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the image must be uint8 of shape (H, W, 3); found {image.dtype} {image.shape}")
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity must lie in 0..1; found {opacity}")
    if not colours:
        raise ValueError("colours is empty; give one colour at least")
    people = [np.ascontiguousarray(points, np.float32) for points in vertices_m]
    triangles = np.ascontiguousarray(faces, np.int32)
    result: RgbImage = image.copy()
    camera = np.asarray(K, np.float64)
    x0, y0, x1, y1 = _window(people, camera, image.shape[1], image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return result
    camera = camera.copy()
    camera[:2, 2] -= (x0, y0)
    target = Target(y1 - y0, x1 - x0, samples=samples)
    for person, points in enumerate(people):
        red, green, blue = (float(c) for c in srgb_decode(np.array(colours[person % len(colours)]) / 255))
        light = _light(vertex_normals(points, triangles))
        cpu.draw(
            target,
            plain_mesh(points, triangles, light=light, colour=(red, green, blue), person=person),
            camera,
        )
    patch = image[y0:y1, x0:x1]
    drawn = cpu.resolve(target, np.ascontiguousarray(patch))
    mixed = patch + opacity * (drawn.astype(np.float32) - patch)
    result[y0:y1, x0:x1] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return result


def _window(
    people: Sequence[Float32Array], K: Float64Array, width_px: int, height_px: int
) -> tuple[int, int, int, int]:
    """Pixels x0, y0, x1, y1 (end excluded) that people may cover; all where one reaches the camera."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for points in people:
        if not len(points) or points[:, 2].max() < NEAR_M:
            continue
        if points[:, 2].min() < NEAR_M:
            return 0, 0, width_px, height_px
        for axis in (0, 1):
            pixels = points[:, axis] / points[:, 2] * K[axis, axis] + K[axis, 2]
            low[axis], high[axis] = min(low[axis], pixels.min()), max(high[axis], pixels.max())
    size = np.array([width_px, height_px])
    start = np.clip(np.floor(np.where(np.isfinite(low), low, 0)) - 1, 0, size).astype(int)
    end = np.clip(np.ceil(np.where(np.isfinite(high), high, -1)) + 2, 0, size).astype(int)
    return int(start[0]), int(start[1]), int(end[0]), int(end[1])


def _light(normals: Float32Array) -> Float32Array:
    """Light (2, V, 3) on the outside and the inside of a surface with these normals."""
    sides = np.stack([normals, -normals])
    total = np.full(sides.shape[:2], _AMBIENT, np.float32)
    for direction, strength in _LAMPS:
        unit = np.array(direction) / np.linalg.norm(direction)
        total += strength * np.clip(sides @ unit.astype(np.float32), 0, None)
    return np.repeat(total[..., None], 3, axis=-1)
