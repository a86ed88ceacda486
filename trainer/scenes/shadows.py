"""Shadows: the person's on itself, and on the floor of the background."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.kernels.raster import Target, cpu, plain_mesh
from kinestream.kernels.raster.compiled import compiled

_Array = npt.NDArray[Any]

MAP_PX: Final = 160
_FAR: Final = 30.0  # distance of the lamp in radii of the person: nearly parallel light
_BIAS_M: Final = 0.035


@dataclass(frozen=True)
class ShadowMap:
    """What a lamp sees of people: depth (S, S), blurred coverage (S, S), and the lamp's own camera."""

    depth_m: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.float32]
    rotation: npt.NDArray[np.float64]
    translation_m: npt.NDArray[np.float64]
    K: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, vertices_m: _Array, faces: _Array, direction: _Array, *, softness_px: float = 2.0
    ) -> "ShadowMap":
        """Map of vertices (V, 3) in camera metres under a lamp in a direction (3,)."""
        low = np.array([column.min() for column in vertices_m.T], np.float64)
        high = np.array([column.max() for column in vertices_m.T], np.float64)
        centre = (low + high) / 2.0
        radius = float(np.linalg.norm(high - low)) / 2.0 + 0.05
        forward = -np.asarray(direction, np.float64)
        across = np.cross([0.0, 1.0, 0.0] if abs(forward[1]) < 0.9 else [1.0, 0.0, 0.0], forward)
        across /= np.linalg.norm(across)
        rotation = np.stack([across, np.cross(forward, across), forward])
        translation = np.array([0.0, 0.0, _FAR * radius]) - rotation @ centre
        focal = (MAP_PX / 2 - 3) * (_FAR - 1)
        camera = np.array([[focal, 0, (MAP_PX - 1) / 2], [0, focal, (MAP_PX - 1) / 2], [0, 0, 1]])
        target = Target(MAP_PX, MAP_PX)
        seen = vertices_m @ rotation.T.astype(np.float32) + translation.astype(np.float32)
        cpu.draw(target, plain_mesh(seen, faces), camera, shade=False)
        covered = (target.triangle >= 0).astype(np.float32)
        blurred = cv2.GaussianBlur(covered, (0, 0), softness_px)
        return cls(target.depth_m, np.asarray(blurred, np.float32), rotation, translation, camera)

    def lit(self, vertices_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """How much of the lamp reaches each vertex, (V,) in 0..1; the mean of 3 x 3 samples of the map."""
        out = np.empty(len(vertices_m), np.float32)
        _lit(vertices_m, self.rotation, self.translation_m, self.K, self.depth_m, _BIAS_M, out)
        return out


_NO_SHADOW: Final = ShadowMap(*np.zeros((2, 1, 1), np.float32), np.eye(3), np.zeros(3), np.eye(3))


def floor_shadow(
    shadow: ShadowMap | None,
    K: _Array,
    size_px: tuple[int, int],
    *,
    up: _Array,
    floor_point_m: _Array,
    lamp_share: float,
    contacts_m: _Array,
) -> npt.NDArray[np.float32]:
    """Factor (H, W) in 0..1 on the display values of a background of size_px whose floor is a plane.

    The floor goes through `floor_point_m` (3,) with the normal `up` (3,), in the camera frame K (3, 3).
    `lamp_share` is the lamp's part of the light on the floor; `contacts_m` (N, 3) are points (feet) that
    keep soft light away where they are close to the floor. Display values fall with the power 1 / 2.2 of
    the light.
    """
    width, height = size_px
    step = max(2, max(size_px) // 64)
    small = np.empty((-(-height // step), -(-width // step)), np.float32)
    camera = np.array(
        [K[0][0] / step, K[1][1] / step, (K[0][2] + 0.5) / step - 0.5, (K[1][2] + 0.5) / step - 0.5]
    )
    seen = shadow or _NO_SHADOW
    _floor(
        small, camera, np.asarray(up, np.float64), float(np.dot(up, floor_point_m)),
        np.ascontiguousarray(contacts_m, np.float64), float(lamp_share) if shadow is not None else 0.0,
        seen.coverage, seen.rotation, seen.translation_m, seen.K,
    )  # fmt: skip
    full = cv2.resize(small, (small.shape[1] * step, small.shape[0] * step), interpolation=cv2.INTER_LINEAR)
    return np.asarray(full[:height, :width], np.float32)


@compiled
def _lit(
    points: _Array, rotation: _Array, translation: _Array, K: _Array, depth: _Array, bias: float, out: _Array
) -> None:
    size = depth.shape[0]
    for i in range(points.shape[0]):
        a, b, c = points[i, 0], points[i, 1], points[i, 2]
        x = rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c + translation[0]
        y = rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c + translation[1]
        z = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c + translation[2]
        column, row = int(K[0, 0] * x / z + K[0, 2] + 0.5), int(K[1, 1] * y / z + K[1, 2] + 0.5)
        count = 0
        for v in range(max(row - 1, 0), min(row + 2, size)):
            for u in range(max(column - 1, 0), min(column + 2, size)):
                if depth[v, u] < z - bias:
                    count += 1
        out[i] = 1.0 - count / 9.0


@compiled
def _floor(
    out: _Array, camera: _Array, up: _Array, level: float, contacts: _Array, share: float, coverage: _Array,
    rotation: _Array, translation: _Array, K: _Array,
) -> None:  # fmt: skip
    size = coverage.shape[0]
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[row, column] = 1.0
            dx, dy = (column - camera[2]) / camera[0], (row - camera[3]) / camera[1]
            slope = up[0] * dx + up[1] * dy + up[2]
            if slope * level <= 0.0:
                continue
            z = level / slope
            px, py = dx * z, dy * z
            soft = 0.0
            for i in range(contacts.shape[0]):
                ex, ey, ez = px - contacts[i, 0], py - contacts[i, 1], z - contacts[i, 2]
                rise = max(-(up[0] * ex + up[1] * ey + up[2] * ez), 0.0)
                far = ex * ex + ey * ey + ez * ez - rise * rise
                if far < 0.1 and rise < 0.5:
                    soft += 0.4 * np.exp(-far / 0.02 - rise / 0.15)
            value = 1.0 - min(soft, 0.6)
            if share > 0.0:
                x = rotation[0, 0] * px + rotation[0, 1] * py + rotation[0, 2] * z + translation[0]
                y = rotation[1, 0] * px + rotation[1, 1] * py + rotation[1, 2] * z + translation[1]
                w = rotation[2, 0] * px + rotation[2, 1] * py + rotation[2, 2] * z + translation[2]
                if w > 0.0:
                    u, v = K[0, 0] * x / w + K[0, 2], K[1, 1] * y / w + K[1, 2]
                    if u >= 0.0 and v >= 0.0 and u < size - 1 and v < size - 1:
                        value *= 1.0 - 0.9 * share * coverage[int(v + 0.5), int(u + 0.5)]
            out[row, column] = value ** (1 / 2.2)
