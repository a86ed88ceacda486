"""Things in front of people: flat shapes with a piece of a photo or a plain colour on them."""

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.trainer.scenes.backgrounds import Backgrounds

_KINDS = ("polygon", "ellipse", "bar", "table")


def random_occluder(
    backgrounds: Backgrounds,
    size_px: tuple[int, int],
    box_xyxy_px: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Picture (H, W, 3) of an occluder near a box, and its coverage (H, W) in 0..1."""
    width, height = size_px
    coverage = _shape(_KINDS[int(rng.integers(len(_KINDS)))], size_px, box_xyxy_px, rng)
    if rng.random() < 0.6:
        picture = backgrounds.photo_part(size_px, rng)
    else:
        picture = np.broadcast_to(rng.integers(10, 235, 3).astype(np.uint8), (height, width, 3)).copy()
    shade = np.linspace(rng.uniform(0.5, 1.1), rng.uniform(0.5, 1.1), width, dtype=np.float32)
    return np.clip(picture * shade[None, :, None], 0, 255).astype(np.uint8), coverage


def _shape(
    kind: str, size_px: tuple[int, int], box: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    width, height = size_px
    low, high = np.clip(box[:2], 0, size_px), np.clip(box[2:], 0, size_px)
    extent = np.maximum(high - low, 8.0)
    mask = np.zeros((height, width), np.uint8)
    centre = low + rng.uniform(0, 1, 2) * extent
    if kind == "ellipse":
        axes = rng.uniform(0.08, 0.3, 2) * extent
        cv2.ellipse(
            mask, (centre.tolist(), (2 * axes).tolist(), float(rng.uniform(0, 180))), 255, -1, cv2.LINE_AA
        )
    elif kind == "table":  # everything below a slanted edge
        edge = low[1] + rng.uniform(0.55, 0.95) * extent[1]
        tilt = rng.normal(0, 0.06) * width
        corners = np.array([[0, edge - tilt], [width, edge + tilt], [width, height], [0, height]])
        cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 255, cv2.LINE_AA)
    elif kind == "bar":  # a pole or a rail across the picture
        angle = rng.normal(0, 0.15) + (np.pi / 2 if rng.random() < 0.6 else 0.0)
        along = np.array([np.cos(angle), np.sin(angle)]) * (width + height)
        thickness = max(2, int(rng.uniform(0.02, 0.12) * extent.max()))
        start, end = np.round(centre - along).astype(int), np.round(centre + along).astype(int)
        cv2.line(mask, start.tolist(), end.tolist(), 255, thickness, cv2.LINE_AA)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        radius = rng.uniform(0.1, 0.35) * extent.max()
        ring = (
            np.stack([np.cos(angles), np.sin(angles)], -1) * radius * rng.uniform(0.6, 1.0, (len(angles), 1))
        )
        cv2.fillPoly(mask, [np.round(centre + ring).astype(np.int32)], 255, cv2.LINE_AA)
    return np.asarray(mask / 255, np.float32)
