"""Random crops and photometric damage, the same for photos and rendered people."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]


def random_similarity(
    rng: np.random.Generator,
    points_px: npt.ArrayLike,
    *,
    crop_px: int,
    margin: float = 1.25,
    turn_std_rad: float = 0.25,
    any_turn: float = 0.15,
    truncate: float = 0.15,
) -> FloatArray:
    """A map (2, 3) from picture pixels to crop pixels that frames the points as a tracker's box might.

    Scale, place and turn are jittered; with probability ``truncate`` a part of the person is cut off, with
    probability ``any_turn`` the picture is turned by any angle, so that up is not always up.
    """
    points = np.asarray(points_px, np.float64)
    low, high = points.min(0), points.max(0)
    extent = max(float((high - low).max()), 8.0)
    side = extent * margin * math.exp(rng.normal(0, 0.17))
    center = (low + high) / 2 + rng.normal(0, 0.05, 2) * extent
    if rng.random() < truncate:
        side *= rng.uniform(0.5, 0.85)
        center = points[rng.integers(len(points))] * 0.5 + center * 0.5
    turn = rng.normal(0, turn_std_rad) if rng.random() < 0.6 else 0.0
    if rng.random() < any_turn:
        turn = rng.uniform(-math.pi, math.pi)
    scale = crop_px / side
    cosine, sine = scale * math.cos(turn), scale * math.sin(turn)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    offset = (crop_px - 1) / 2 - linear @ center
    return np.concatenate([linear, offset[:, None]], 1)


def turn_of(matrix: FloatArray) -> FloatArray:
    """The rotation (3, 3) of the camera about its axis that a similarity (2, 3) of its picture amounts to."""
    linear = matrix[:, :2] / math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    turn = np.eye(3)
    turn[:2, :2] = linear
    return turn


def map_matrix(matrix: FloatArray, *, picture_scale: float = 1.0, stride: int) -> FloatArray:
    """The map (2, 3) from a label picture to the crop's label map.

    Args:
        matrix: picture -> crop.
        picture_scale: pixels of the picture per pixel of the label picture.
        stride: crop pixels per pixel of the label map.

    """
    result = np.empty((2, 3))
    result[:, :2] = matrix[:, :2] * (picture_scale / stride)
    shift = (picture_scale - 1) / 2
    result[:, 2] = (matrix @ [shift, shift, 1.0] + 0.5) / stride - 0.5
    return result


def warp(image: npt.NDArray[np.uint8], matrix: FloatArray, crop_px: int, *, border: int | None = 0) -> Image:
    """The crop of an image; ``border=None`` repeats the picture's edge."""
    mode = cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT
    size = (crop_px, crop_px)
    warped = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mode, borderValue=(border or 0,) * 4
    )
    return np.asarray(warped, np.uint8)


def damage(rng: np.random.Generator, image: Image) -> Image:
    """Colour, contrast, blur, noise, low resolution and compression, each now and then."""
    if rng.random() < 0.8:
        image = _recoloured(rng, image)
    if rng.random() < 0.25:
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = rng.uniform(0, 0.7)
        image = np.asarray(cv2.addWeighted(image, share, gray, 1 - share, 0), np.uint8)
    if rng.random() < 0.25:
        side = max(24, int(image.shape[0] * rng.uniform(0.25, 0.7)))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    elif rng.random() < 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6)), np.uint8)
    if rng.random() < 0.3:
        image = _noisy(rng, image)
    if rng.random() < 0.15:
        _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image


def occlude(rng: np.random.Generator, image: Image, filler: Image) -> npt.NDArray[np.bool_]:
    """Cover an ellipse or a box of ``image`` by ``filler``, in place; returns the mask of what is covered."""
    side = image.shape[0]
    mask = np.zeros((side, side), np.uint8)
    center = rng.uniform(0.1, 0.9, 2) * side
    axes = rng.uniform(0.05, 0.22, 2) * side
    if rng.random() < 0.5:
        middle, size = (float(center[0]), float(center[1])), (float(2 * axes[0]), float(2 * axes[1]))
        cv2.ellipse(mask, (middle, size, rng.uniform(0, 180)), 1, -1)
    else:
        low, high = np.maximum(center - axes, 0).astype(int), (center + axes).astype(int)
        mask[low[1] : high[1], low[0] : high[0]] = 1
    cv2.copyTo(filler, mask, image)
    return mask.astype(bool)


def patterned(rng: np.random.Generator, rgba: Image, labels: Image) -> Image:
    """Repaint some parts of a rendered person: another colour with stripes, checks or blotches on it.

    The folds and shadows of the cloth stay, so that only its print changes. Without this a network learns the
    few dozen textures of the wardrobe.

    Args:
        rng: of the draw.
        rgba: (S, S, 4), colour already multiplied by coverage.
        labels: (S', S') part map, 0 background.

    """
    side = rgba.shape[0]
    chosen = np.zeros(256, np.uint8)
    groups = _PATTERN_GROUPS[int(rng.integers(len(_PATTERN_GROUPS)))]
    chosen[[part + 1 for part in groups]] = 1
    mask = cv2.resize(chosen[labels], (side, side), interpolation=cv2.INTER_NEAREST)
    brightness = cv2.cvtColor(rgba[..., :3], cv2.COLOR_RGB2GRAY)
    mean = max(float(cv2.mean(brightness, mask)[0]), 8.0)
    shade = cv2.cvtColor(cv2.convertScaleAbs(brightness, alpha=127 / mean), cv2.COLOR_GRAY2RGB)
    alpha = np.ascontiguousarray(rgba[..., 3])
    painted = cv2.multiply(_print(rng, side), shade, scale=1 / 127)
    painted = cv2.min(painted, cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB))  # stays multiplied by coverage
    result = rgba.copy()
    cv2.copyTo(cv2.merge([*cv2.split(painted), alpha]), mask, result)
    return result


def blob(
    rng: np.random.Generator, shape: tuple[int, int], box: tuple[Sequence[float], Sequence[float], float]
) -> npt.NDArray[np.uint8]:
    """Mask (H, W) of an ellipse or a rectangle: centre, size and angle in degrees as OpenCV takes them."""
    mask = np.zeros(shape, np.uint8)
    if rng.random() < 0.5:
        cv2.ellipse(mask, box, 1, -1)
    else:
        cv2.fillConvexPoly(mask, cv2.boxPoints(box).astype(np.int32), 1)
    return mask


def add_decoys(rng: np.random.Generator, image: Image, *, most: int = 5) -> None:
    """Paint printed blobs and posts near the middle, in place: colourful, upright, and nobody."""
    side = image.shape[0]
    for _ in range(1 + int(rng.integers(most))):
        longer = side * math.exp(rng.uniform(math.log(0.15), math.log(0.9)))
        axes = float(longer), float(longer * rng.uniform(0.12, 0.9))
        center = tuple(float(value) for value in rng.normal(0.5, 0.18, 2) * side)
        box = (center, (axes[1], axes[0]), float(rng.normal(0, 40)))
        mask = blob(rng, (side, side), box)
        cv2.copyTo(_print(rng, side), mask, image)


def shuffled(rng: np.random.Generator, image: Image) -> Image:
    """The picture's tiles in another order: everything a person is made of, but no person."""
    count = int(rng.integers(3, 7))
    side = image.shape[0] // count
    order = rng.permutation(count * count)
    result = image.copy()
    for place, taken in enumerate(order):
        (i, j), (k, m) = divmod(place, count), divmod(int(taken), count)
        tile = image[k * side : (k + 1) * side, m * side : (m + 1) * side]
        result[i * side : (i + 1) * side, j * side : (j + 1) * side] = tile
    return result


_TORSO = (1, 2)
_PATTERN_GROUPS: tuple[tuple[int, ...], ...] = (
    _TORSO, (*_TORSO, 3, 4), (*_TORSO, 3, 4, 5, 6), (1, 3, 4), (2, 9, 10), (2, 9, 10, 11, 12),
    (9, 10, 11, 12),
    (1, 2, 9, 10), tuple(range(1, 15)), (3, 4, 5, 6), (11, 12),
)  # fmt: skip
"""Parts that one piece of clothing may cover: shirts, trousers, dresses, overalls, sleeves, stockings."""


def _print(rng: np.random.Generator, side: int) -> Image:
    """Two colours (side, side, 3) in a random print."""
    colors = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    if rng.random() < 0.5:
        colors[1] = colors[0] + rng.normal(0, 25, 3)
    kind, small = rng.random(), side // 2
    if kind < 0.35:
        cells = int(rng.integers(4, 24))
        share = cv2.resize(rng.random((cells, cells), np.float32), (small, small))
        if rng.random() < 0.5:
            share = (share > 0.5).astype(np.float32)
    else:
        angle, frequency = rng.uniform(0, math.pi), 2 * math.pi / rng.uniform(2, 20)
        along = np.arange(small, dtype=np.float32) * np.float32(frequency * math.cos(angle))
        across = np.arange(small, dtype=np.float32) * np.float32(frequency * math.sin(angle))
        wave = np.sin(along[None, :] + across[:, None])
        if kind > 0.7:
            wave *= np.sin(along[:, None] - across[None, :])
        share = np.clip(0.5 + rng.uniform(0.6, 4) * wave, 0, 1)
    mixed = np.clip(colors[0] + share[..., None] * (colors[1] - colors[0]), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(mixed, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _recoloured(rng: np.random.Generator, image: Image) -> Image:
    """Contrast, brightness, white balance and gamma by one table per channel."""
    levels = np.arange(256, dtype=np.float64)
    pivot = float(cv2.mean(image)[1])
    levels = (levels - pivot) * math.exp(rng.normal(0, 0.25)) + pivot + rng.normal(0, 12)
    levels = 255 * np.clip(levels / 255, 0, 1) ** math.exp(rng.normal(0, 0.2))
    gain = math.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.08, 3))
    table = np.clip(levels[:, None] * gain, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _noisy(rng: np.random.Generator, image: Image) -> Image:
    """Sensor noise; a coarse draw is repeated over the picture, which is enough and much cheaper."""
    tile = rng.normal(0, rng.uniform(2, 10), (64, 64, 3)).astype(np.int16)
    repeats = (-(-image.shape[0] // 64), -(-image.shape[1] // 64), 1)
    noise = np.tile(tile, repeats)[: image.shape[0], : image.shape[1]]
    return np.asarray(np.clip(image.astype(np.int16) + noise, 0, 255), np.uint8)
