"""Textures of the rasteriser: many images with their mip levels in one flat array."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import AnyArray, Int64Array, RgbImage, UInt8Array

_MIN_SIDE_PX = 4


@dataclass(frozen=True, eq=False)
class TextureBank:
    """All textures that meshes may refer to, as one array that a kernel can index.

    texels (N, 4) uint8: sRGB and alpha of every level of every texture, row by row.
    levels (L, 3) int64: first texel, height and width of each level.
    first_level (T + 1,) int64: texture t owns the levels first_level[t] .. first_level[t + 1] - 1.
    cutout (T,) bool: textures with transparent texels, which samples have to look up for coverage.
    """

    texels: UInt8Array
    levels: Int64Array
    first_level: Int64Array
    cutout: npt.NDArray[np.bool_]

    @classmethod
    def build(cls, images: Sequence[RgbImage]) -> "TextureBank":
        """Bank of images (H, W, 3 or 4) uint8 sRGB, row 0 at the top. May be empty.

        Raises ValueError for an image of another shape or type.
        """
        return cls.join([mip_levels(image) for image in images])

    @classmethod
    def join(cls, pyramids: Sequence[Sequence[RgbImage]]) -> "TextureBank":
        """Bank of ready pyramids (see `mip_levels`)."""
        flat, table, first, offset = [np.zeros((0, 4), np.uint8)], [], [0], 0
        for pyramid in pyramids:
            for level in pyramid:
                height, width = level.shape[:2]
                table.append((offset, height, width))
                flat.append(level.reshape(-1, 4))
                offset += height * width
            first.append(len(table))
        levels = np.array(table, np.int64).reshape(-1, 3)
        cutout = np.array([bool((pyramid[0][..., 3] < 255).any()) for pyramid in pyramids], np.bool_)
        return cls(np.concatenate(flat), levels, np.array(first, np.int64), cutout)

    def __len__(self) -> int:
        return len(self.first_level) - 1


def mip_levels(image: RgbImage) -> list[RgbImage]:
    """Mip pyramid of an image (H, W, 3 or 4) uint8: RGBA levels, finest first.

    Colours are averaged with alpha as weight, and transparent texels take the colour of the level
    above, so that interpolation never mixes in what lies hidden under transparency.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(
            f"a texture must be uint8 of shape (H, W, 3) or (H, W, 4); found {image.dtype} {image.shape}"
        )
    if image.shape[2] == 3 or image[..., 3].min() == 255:
        return _opaque_levels(cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2RGBA))
    level = image.astype(np.float32)
    levels = [level]
    while min(level.shape[:2]) >= 2:
        height, width = level.shape[0] // 2, level.shape[1] // 2
        block = level[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 4)
        weight = block[..., 3:] + 1e-3
        colour = (block[..., :3] * weight).sum((1, 3)) / weight.sum((1, 3))
        level = np.concatenate([colour, block[..., 3:].mean((1, 3))], axis=-1)
        levels.append(level)
    for fine, coarse in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        clear = fine[..., 3] == 0
        if clear.any():
            rows = np.minimum(np.arange(fine.shape[0]) // 2, coarse.shape[0] - 1)
            columns = np.minimum(np.arange(fine.shape[1]) // 2, coarse.shape[1] - 1)
            fine[clear, :3] = coarse[rows[:, None], columns[None, :], :3][clear]
    useful = [levels[0], *(level for level in levels[1:] if min(level.shape[:2]) >= _MIN_SIDE_PX)]
    return [np.clip(level + 0.5, 0, 255).astype(np.uint8) for level in useful]


def _opaque_levels(image: AnyArray) -> list[RgbImage]:
    levels = [image.astype(np.uint8, copy=False)]
    while min(image.shape[:2]) >= 2 * _MIN_SIDE_PX:
        size = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image[: 2 * size[1], : 2 * size[0]], size, interpolation=cv2.INTER_AREA)
        levels.append(image.astype(np.uint8, copy=False))
    return levels
