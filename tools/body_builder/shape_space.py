"""Principal components of body shape, in standard deviations."""

from dataclasses import dataclass

import numpy as np

from kinestream.tools.body_builder.arrays import FloatArray, IntArray
from kinestream.tools.body_builder.mesh import vertex_areas, volumes

VOLUME_SAMPLE = 400
"""Adults whose volume decides the sign of a component."""


@dataclass(frozen=True)
class ShapeSpace:
    """Mean body and its directions of variation."""

    mean_m: FloatArray  # (V, 3) float64, metres
    directions_m: FloatArray  # (V, 3, C) float32 or float64, metres per standard deviation
    coefficients: FloatArray  # (N, C) standard-normal coordinates of the bodies it was made from
    variance: FloatArray  # (C,) share of the total variance that each component explains


def fit_shape_space(vertices_m: FloatArray, faces: IntArray, components: int) -> ShapeSpace:
    """Principal components of bodies (N, V, 3) in one pose, with vertices weighted by surface area.

    The first component is signed to make people taller, the others to give them more volume.

    Raises ``ValueError``: more components than the bodies can span.
    """
    count = len(vertices_m)
    if components >= count:
        raise ValueError(f"{components} shape components need more than {components} bodies, found {count}")
    mean = vertices_m.mean(0, dtype=np.float64)
    centred = (vertices_m - mean).astype(np.float32).reshape(count, -1)
    area = vertex_areas(mean, faces)
    scaled = centred * np.repeat(np.sqrt(area / area.sum()), 3).astype(np.float32)
    values, vectors = np.linalg.eigh((scaled @ scaled.T).astype(np.float64))
    values, vectors = values[::-1], vectors[:, ::-1]
    coefficients = vectors[:, :components] * np.sqrt(count - 1)
    stature = np.ptp(vertices_m[..., 1], axis=1)
    volume = volumes(vertices_m[:VOLUME_SAMPLE].astype(np.float64), faces)
    for component in range(components):
        grows_with = stature if component == 0 else volume
        if np.corrcoef(coefficients[: len(grows_with), component], grows_with)[0, 1] < 0:
            coefficients[:, component] *= -1
    directions = (np.linalg.pinv(coefficients) @ centred).reshape(components, -1, 3).transpose(1, 2, 0)
    return ShapeSpace(mean, directions, coefficients, values[:components] / values.sum())
