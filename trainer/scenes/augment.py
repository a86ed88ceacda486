"""What sensor and codec do to a picture."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.kernels.raster.compiled import compiled
from kinestream.kernels.raster.target import srgb_decode, srgb_encode
from kinestream.trainer.scenes.config import SceneConfig

_Array = npt.NDArray[Any]
Picture = npt.NDArray[np.uint8]

_NOISE_LENGTH: Final = 1 << 19
_NOISE_UNIT: Final = 1 / 24.0  # standard deviations per step of the int8 noise


@dataclass(frozen=True)
class CameraSettings:
    """What stays the same from picture to picture of one camera.

    table (3, 256) f32: display value of each 8-bit value, per channel; saturation: 1 keeps colours, 0 is
    gray; noise_sigma: in 8-bit steps at mid gray; jpeg_quality: 1..100, None for no JPEG.
    """

    table: npt.NDArray[np.float32]
    saturation: float
    noise_sigma: float
    jpeg_quality: int | None


class Augmenter:
    """Photographic augmentation; deterministic in the generator that it is given."""

    def __init__(self, config: SceneConfig) -> None:
        """Draw the noise that all pictures share."""
        self.config = config
        noise = np.random.default_rng(0).normal(0, 1 / _NOISE_UNIT, _NOISE_LENGTH)
        self._noise = np.clip(np.round(noise), -127, 127).astype(np.int8)

    def settings(self, rng: np.random.Generator) -> CameraSettings:
        """Exposure, colour, noise and JPEG quality of a camera."""
        config = self.config
        stops = float(rng.normal(0, 1)) * config.exposure_sigma_stops
        gains = np.exp(rng.normal(0, 1, 3) * config.white_balance_sigma)
        contrast = float(np.exp(rng.normal(0, 1) * config.contrast_sigma))
        saturation = float(rng.uniform(*config.saturation))
        sigma = 0.0
        if rng.random() < config.noise_share:
            sigma = float(np.exp(rng.uniform(*np.log(config.noise_sigma))))
        if rng.random() < config.low_light_share:
            stops -= float(rng.uniform(1.2, 3.0))
            sigma = max(sigma, float(rng.uniform(4.0, 12.0)))
            saturation *= float(rng.uniform(0.4, 1.0))
        if rng.random() < config.gray_share:
            saturation = 0.0
        quality = int(rng.uniform(*config.jpeg_quality)) if rng.random() < config.jpeg_share else None
        return CameraSettings(_tone_table(stops, gains, contrast), saturation, sigma, quality)

    def sensor(self, image: Picture, settings: CameraSettings, rng: np.random.Generator) -> Picture:
        """Picture (H, W, 3) as a camera with these settings gives it."""
        out = np.empty_like(image)
        sigma, start = settings.noise_sigma * _NOISE_UNIT, int(rng.integers(_NOISE_LENGTH))
        _develop(image, settings.table, settings.saturation, self._noise, start, sigma, out)
        return out if settings.jpeg_quality is None else jpeg(out, settings.jpeg_quality)


def jpeg(image: Picture, quality: int) -> Picture:
    """The picture after a JPEG codec of this quality (1..100)."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {image.shape} as JPEG")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _tone_table(stops: float, gains: _Array, contrast: float) -> npt.NDArray[np.float32]:
    """Display value of each 8-bit value per channel, (3, 256)."""
    linear = srgb_decode(np.arange(256) / 255)
    exposed = srgb_encode(np.clip(linear * 2.0**stops * gains[:, None], 0, 1))
    return (255 * np.clip(0.45 + contrast * (exposed - 0.45), 0, 1)).astype(np.float32)


@compiled
def _develop(
    image: _Array, table: _Array, saturation: float, noise: _Array, start: int, sigma: float, out: _Array
) -> None:
    mask = noise.shape[0] - 1
    position = start
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            r = table[0, image[row, column, 0]]
            g = table[1, image[row, column, 1]]
            b = table[2, image[row, column, 2]]
            gray = 0.299 * r + 0.587 * g + 0.114 * b
            strength = sigma * np.sqrt(0.3 + gray / 182.0)
            position += 1
            common = 0.7 * noise[position & mask]  # luminance noise is stronger than that of colour
            for c in range(3):
                value = r if c == 0 else (g if c == 1 else b)
                value = gray + saturation * (value - gray)
                position += 1
                value += strength * (common + 0.7 * noise[position & mask])
                out[row, column, c] = int(min(max(value + 0.5, 0.0), 255.0))
