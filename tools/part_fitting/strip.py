"""Picture of fits to part maps: per case the map, the start, the fit, and fit against truth from the side."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.geometry.camera import Camera
from kinestream.kernels.raster.overlay import PART_COLOURS, overlay_meshes
from kinestream.tools.part_fitting.scenes import Bodies

CASES: Final = 8
_TRUTH_RGB: Final = (120, 205, 130)
_FIT_RGB: Final = (240, 150, 110)


def write_strip(
    path: Path, body: BodyModel, camera: Camera, part_map: Tensor, bodies: dict[str, Bodies]
) -> None:
    """Write a PNG of the first cases, one a column, of "start", "fit" and "truth". Raises ``OSError``."""
    with torch.no_grad():
        vertices = {name: value.posed(body).vertices_m.numpy() for name, value in bodies.items()}
    faces = body.faces.numpy()
    columns = []
    for i in range(min(CASES, len(part_map))):
        picture = PART_COLOURS[part_map[i].numpy()]
        rows = [picture]
        for name in ("start", "fit"):
            rows.append(
                overlay_meshes(picture, [vertices[name][i]], faces, camera.K, colours=[_FIT_RGB], opacity=0.7)
            )
        centre = vertices["truth"][i].mean(0)
        side = [_from_the_side(vertices[name][i], centre) for name in ("truth", "fit")]
        rows.append(
            overlay_meshes(np.full_like(picture, 30), side, faces, camera.K, colours=[_TRUTH_RGB, _FIT_RGB])
        )
        columns.append(np.concatenate(rows, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.concatenate(columns, 1)[..., ::-1]):
        raise OSError(f"could not write a picture to {path}: give a name that ends in .png")


def _from_the_side(vertices_m: NDArray[np.float32], centre_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vertices turned a quarter about the vertical through a centre, so that depth is seen."""
    x, y, z = (vertices_m - centre_m).T
    return (np.stack([z, y, -x], 1) + centre_m).astype(np.float32)
