"""Light on people: soft light from all around (spherical harmonics) and one lamp with a direction.

Radiance is kept in the units of the background, so that a tone curve which fits the background fits the
person too. Irradiance from spherical harmonics: Ramamoorthi and Hanrahan, An Efficient Representation for
Irradiance Environment Maps, 2001.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kinestream.kernels.raster import ToneCurve
from kinestream.kernels.raster.compiled import compiled
from kinestream.kernels.raster.target import SRGB_TO_LINEAR, srgb_encode, tone_inputs

_Array = npt.NDArray[Any]

SH_CONSTANTS: Final = np.array(
    [0.282095, 0.488603, 0.488603, 0.488603, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274]
)
"""Of the harmonics 1, y, z, x, xy, yz, 3z²-1, xz, x²-y²."""

_BANDS: Final = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)  # irradiance over pi
_LEAST: Final = 0.02  # share of the mean light that reaches every surface


@dataclass(frozen=True)
class Light:
    """Light around a person.

    soft (9, 3) f32: what a white surface sends out, as harmonics of its normal in the light's own frame.
    from_camera (3, 3): light frame from camera frame. lamp_direction (3,): unit vector to the lamp in the
    camera frame; lamp (3,): what a white surface that faces the lamp sends out. tone: the background's.
    """

    soft: npt.NDArray[np.float32]
    from_camera: npt.NDArray[np.float64]
    lamp_direction: npt.NDArray[np.float64]
    lamp: npt.NDArray[np.float64]
    tone: ToneCurve

    def lamp_share(self, normal: _Array) -> float:
        """Share of the lamp in the light on a surface with this normal (3,), in the camera frame."""
        direct = float(self.lamp.mean() * max(float(normal @ self.lamp_direction), 0.0))
        soft = float((self.soft.T @ harmonics(self.from_camera @ normal)).mean())
        return direct / max(direct + soft, 1e-9) if soft > 0 else float(direct > 0)


def harmonics(direction: _Array) -> npt.NDArray[np.float64]:
    """The nine basis functions (9,) at a unit vector (3,)."""
    x, y, z = direction
    polynomials = np.array([1, y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], np.float64)
    return np.asarray(SH_CONSTANTS * polynomials)


def environment_light(
    radiance_sh: _Array,
    lamp_direction_env: _Array,
    lamp_irradiance: _Array,
    from_camera: _Array,
    tone: ToneCurve,
) -> Light:
    """Light of a panorama: harmonics (9, 3) of all its radiance, of which the lamp is set apart."""
    rest = radiance_sh - np.outer(harmonics(lamp_direction_env), lamp_irradiance)
    return Light(
        soft=(_BANDS[:, None] * rest).astype(np.float32),
        from_camera=np.asarray(from_camera, np.float64),
        lamp_direction=np.asarray(from_camera.T @ lamp_direction_env, np.float64),
        lamp=np.asarray(lamp_irradiance, np.float64) / np.pi,
        tone=tone,
    )


def guessed_light(photo: npt.NDArray[np.uint8], up: _Array, rng: np.random.Generator) -> Light:
    """Light that a photo suggests: its colours from above and below, and a lamp out of nowhere."""
    linear = SRGB_TO_LINEAR[photo[::8, ::8]].astype(np.float64)  # (h, w, 3)
    half = (len(linear) + 1) // 2
    upper, lower = linear[:half].mean((0, 1)), linear[-half:].mean((0, 1))
    level = 0.5 * (upper + lower)
    tinted = 0.5 * level + 0.5 * level.mean()  # colours of things tint their light only in part
    scale = rng.uniform(1.2, 2.2) * max(level.mean(), 0.05) / max(tinted.mean(), 1e-6)
    share = rng.uniform(0.0, 0.65)
    direction = rng.normal(size=3) + 1.3 * up + [0.0, 0.0, -0.5]
    direction /= np.linalg.norm(direction)
    soft = np.zeros((9, 3))
    soft[0] = (1 - share) * scale * tinted / SH_CONSTANTS[0]
    slope = np.clip((upper - lower) / np.maximum(upper + lower, 1e-3), -0.4, 0.6).mean()
    soft[1] = soft[0] * SH_CONSTANTS[0] / SH_CONSTANTS[1] * (0.25 + slope) * 0.8
    warm = 1 + rng.normal(0, 0.06) * np.array([1.0, 0.1, -1.0])
    # rows of the light's frame: y is up, the others do not matter
    side = np.cross(up, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    return Light(
        soft=soft.astype(np.float32),
        from_camera=np.stack([side, up, np.cross(side, up)]),
        lamp_direction=direction,
        lamp=1.6 * share * scale * tinted * warm,
        tone=ToneCurve.srgb(),
    )


def filmic(exposure: float) -> ToneCurve:
    """Tone curve of the panoramas: x (1 + x / 25) / (1 + x) · 1.25 of exposed light, then sRGB."""
    x = exposure * tone_inputs()
    return ToneCurve((255 * srgb_encode(np.clip(1.25 * x * (1 + x / 25) / (1 + x), 0, 1))).astype(np.float32))


def vertex_light(
    normals: npt.NDArray[np.float32], lit: npt.NDArray[np.float32], light: Light
) -> npt.NDArray[np.float32]:
    """Light (2, V, 3) that leaves white vertices outside and inside.

    normals (V, 3) in the camera frame; lit (V,): how much of the lamp reaches each vertex, 0..1.
    """
    out = np.empty((2, len(normals), 3), np.float32)
    soft = light.soft * SH_CONSTANTS[:, None].astype(np.float32)
    least = np.float32(_LEAST * (light.soft[0].mean() * SH_CONSTANTS[0] + light.lamp.mean()))
    _vertex_light(
        normals, lit, soft, light.from_camera.astype(np.float32), light.lamp_direction.astype(np.float32),
        light.lamp.astype(np.float32), least, out,
    )  # fmt: skip
    return out


@compiled
def _vertex_light(
    normals: _Array, lit: _Array, soft: _Array, to_env: _Array, direction: _Array, lamp: _Array, least: float,
    out: _Array,
) -> None:  # fmt: skip
    for i in range(normals.shape[0]):
        a, b, c = normals[i, 0], normals[i, 1], normals[i, 2]
        x = to_env[0, 0] * a + to_env[0, 1] * b + to_env[0, 2] * c
        y = to_env[1, 0] * a + to_env[1, 1] * b + to_env[1, 2] * c
        z = to_env[2, 0] * a + to_env[2, 1] * b + to_env[2, 2] * c
        facing = a * direction[0] + b * direction[1] + c * direction[2]
        front, back = max(facing, np.float32(0.0)) * lit[i], max(-facing, np.float32(0.0)) * lit[i]
        for k in range(3):
            even = soft[0, k] + soft[4, k] * x * y + soft[5, k] * y * z
            even += soft[6, k] * (np.float32(3.0) * z * z - np.float32(1.0)) + soft[7, k] * x * z
            even += soft[8, k] * (x * x - y * y)
            odd = soft[1, k] * y + soft[2, k] * z + soft[3, k] * x
            out[0, i, k] = max(even + odd, least) + front * lamp[k]
            out[1, i, k] = max(even - odd, least) + back * lamp[k]
