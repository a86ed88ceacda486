"""What is behind people: views into panoramas, and photos, with the light that goes with them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.kernels.raster.compiled import compiled
from kinestream.trainer.scenes.assets import AssetError, damaged, read_image, read_json, require
from kinestream.trainer.scenes.lighting import Light, environment_light, filmic, guessed_light
from kinestream.trainer.scenes.viewpoint import turn

_Array = npt.NDArray[Any]

_PANORAMA_FROM_WORLD: Final = np.diag([1.0, 1.0, -1.0])  # the panoramas are y up, z into the picture
_KEPT: Final = 512  # decoded pictures that are kept in memory, about 150 MB


@dataclass(frozen=True)
class Backdrop:
    """A background (H, W, 3) uint8 RGB and the light it implies."""

    image: npt.NDArray[np.uint8]
    light: Light


class Backgrounds:
    """The folder `backgrounds` of the data: panoramas with light data, and photos."""

    def __init__(self, folder: Path, *, photos: bool = True) -> None:
        """List the files; raises AssetError where panoramas, or photos that are asked for, are missing."""
        self.panoramas = [
            path for path in sorted(require(folder / "hdri").glob("*.json")) if _unpeopled(path)
        ]
        if not self.panoramas:
            raise AssetError(f"{folder / 'hdri'} holds no panorama (*.json); see docs/training.md")
        self.photos: Sequence[Path] = (
            sorted(require(folder / "photos").glob("*.[jp][pn]*g")) if photos else []
        )
        if photos and not self.photos:
            raise AssetError(f"{folder / 'photos'} holds no photo; see docs/training.md")
        self._records: dict[Path, Any] = {}
        self._images: OrderedDict[Path, npt.NDArray[np.uint8]] = OrderedDict()

    def panorama(
        self,
        path: Path,
        K: _Array,
        size_px: tuple[int, int],
        *,
        camera_from_world: _Array,
        heading_rad: float,
    ) -> Backdrop:
        """View into a panorama by the camera K (3, 3), turned about the vertical by `heading_rad`."""
        record = self._record(path)
        pixels = self._image(path.with_suffix(".jpg"))
        from_camera = _PANORAMA_FROM_WORLD @ turn(1, heading_rad) @ camera_from_world.T
        width, height = size_px
        half = np.empty((-(-height // 2), -(-width // 2), 3), np.uint8)
        k = np.array([K[0][0] / 2, K[1][1] / 2, K[0][2] / 2 - 0.25, K[1][2] / 2 - 0.25])
        _look(pixels, np.ascontiguousarray(from_camera), k, half)
        image = cv2.resize(half, (2 * half.shape[1], 2 * half.shape[0]), interpolation=cv2.INTER_LINEAR)
        try:
            light = environment_light(
                np.array(record["sh2_radiance"], np.float64).reshape(9, 3),
                np.array(record["light_dir"], np.float64).reshape(3),
                np.array(record["light_irradiance"], np.float64).reshape(3),
                from_camera,
                filmic(float(record["exposure"])),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise damaged(path, repr(error)) from error
        return Backdrop(np.ascontiguousarray(image[:height, :width], np.uint8), light)

    def random(
        self,
        K: _Array,
        size_px: tuple[int, int],
        *,
        camera_from_world: _Array,
        panorama_share: float,
        rng: np.random.Generator,
    ) -> Backdrop:
        """A random view into a panorama, or a part of a random photo under a guessed light."""
        if not self.photos or rng.random() < panorama_share:
            path = self.panoramas[int(rng.integers(len(self.panoramas)))]
            heading = float(rng.uniform(-np.pi, np.pi))
            return self.panorama(path, K, size_px, camera_from_world=camera_from_world, heading_rad=heading)
        image = self.photo_part(size_px, rng)
        return Backdrop(image, guessed_light(image, camera_from_world[:, 1], rng))

    def photo_part(self, size_px: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """A random part, of size (width, height), of a photo, or of a panorama where there are no photos."""
        sources = self.photos or [path.with_suffix(".jpg") for path in self.panoramas]
        photo = self._image(sources[int(rng.integers(len(sources)))])
        aspect = size_px[0] / size_px[1]
        fit = min(photo.shape[1] / aspect, photo.shape[0])
        height = rng.uniform(0.5, 1.0) * fit
        width = height * aspect
        x0, y0 = rng.uniform(0, photo.shape[1] - width), rng.uniform(0, photo.shape[0] - height)
        part = photo[int(y0) : int(y0 + max(height, 2)), int(x0) : int(x0 + max(width, 2))]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        scaled = cv2.resize(np.ascontiguousarray(part), size_px, interpolation=cv2.INTER_LINEAR)
        return np.asarray(scaled, np.uint8)

    def _record(self, path: Path) -> Any:
        if path not in self._records:
            self._records[path] = read_json(path)
        return self._records[path]

    def _image(self, path: Path) -> npt.NDArray[np.uint8]:
        if path in self._images:
            self._images.move_to_end(path)
            return self._images[path]
        self._images[path] = np.ascontiguousarray(read_image(path)[..., :3])
        if len(self._images) > _KEPT:
            self._images.popitem(last=False)
        return self._images[path]


def _unpeopled(path: Path) -> bool:
    return not read_json(path).get("small_people", False)


@compiled
def _look(panorama: _Array, from_camera: _Array, k: _Array, out: _Array) -> None:
    height, width = panorama.shape[0], panorama.shape[1]
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            dx, dy = (column - k[2]) / k[0], (row - k[3]) / k[1]
            x = from_camera[0, 0] * dx + from_camera[0, 1] * dy + from_camera[0, 2]
            y = from_camera[1, 0] * dx + from_camera[1, 1] * dy + from_camera[1, 2]
            z = from_camera[2, 0] * dx + from_camera[2, 1] * dy + from_camera[2, 2]
            u = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * width - 0.5
            v = (0.5 - np.arctan2(y, np.sqrt(x * x + z * z)) / np.pi) * height - 0.5
            v = min(max(v, 0.0), height - 1.0)
            left, top = int(np.floor(u)), int(v)
            fu, fv = u - left, v - top
            u0, u1, v1 = left % width, (left + 1) % width, min(top + 1, height - 1)
            for c in range(3):
                upper = panorama[top, u0, c] * (1 - fu) + panorama[top, u1, c] * fu
                lower = panorama[v1, u0, c] * (1 - fu) + panorama[v1, u1, c] * fu
                out[row, column, c] = int(upper * (1 - fv) + lower * fv + 0.5)
