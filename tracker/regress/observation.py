"""What the regressor says about each person in a frame, before filtering."""

from dataclasses import dataclass, fields

import numpy as np

from kinestream.body.skeleton import NUM_BETAS, NUM_KEYPOINTS
from kinestream.kernels.array_types import Float32Array


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Observations:
    """Measurements of P persons, row by row, each with its standard deviation where it has one.

    Attributes:
        presence: (P,) 0..1, whether the box holds a person at all.
        keypoints_px: (P, 23, 3) x, y in the full image, and confidence 0..1.
        covariance_px2: (P, 23, 3) of the keypoints' heat maps: xx, xy, yy in the full image; NaN
            where they have none.
        z: (P, D) pose in the latent space of the flow.
        z_std: (P, D).
        root_quat_wxyz: (P, 4) pelvis rotation, body axes to camera frame.
        root_std_rad: (P,).
        translation_m: (P, 3) pelvis position in the camera frame.
        translation_std_m: (P, 3).
        betas: (P, 10) body shape in standard deviations of the population.
        betas_std: (P, 10).

    Raises ``ValueError`` naming the field, the shape found and the shape expected.
    """

    presence: Float32Array
    keypoints_px: Float32Array
    covariance_px2: Float32Array
    z: Float32Array
    z_std: Float32Array
    root_quat_wxyz: Float32Array
    root_std_rad: Float32Array
    translation_m: Float32Array
    translation_std_m: Float32Array
    betas: Float32Array
    betas_std: Float32Array

    def __post_init__(self) -> None:
        expected = _shapes(len(self.presence), self.z.shape[-1])
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"Observations.{name}: expected shape {shape}, found {found}")

    @classmethod
    def of_nobody(cls, latent_size: int) -> "Observations":
        """No person, and latents of this size."""
        return cls(**{name: np.zeros(shape, np.float32) for name, shape in _shapes(0, latent_size).items()})

    def __len__(self) -> int:
        return len(self.presence)

    def __repr__(self) -> str:
        """The shapes of all fields."""
        shapes = ", ".join(f"{entry.name}={getattr(self, entry.name).shape}" for entry in fields(self))
        return f"Observations({shapes})"


def _shapes(persons: int, latent: int) -> dict[str, tuple[int, ...]]:
    """Of all fields, by name."""
    return {
        "presence": (persons,),
        "keypoints_px": (persons, NUM_KEYPOINTS, 3),
        "covariance_px2": (persons, NUM_KEYPOINTS, 3),
        "z": (persons, latent),
        "z_std": (persons, latent),
        "root_quat_wxyz": (persons, 4),
        "root_std_rad": (persons,),
        "translation_m": (persons, 3),
        "translation_std_m": (persons, 3),
        "betas": (persons, NUM_BETAS),
        "betas_std": (persons, NUM_BETAS),
    }
