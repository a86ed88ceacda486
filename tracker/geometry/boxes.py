"""Boxes as left, top, right, bottom in pixels, (..., 4)."""

import numpy as np
import numpy.typing as npt

from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array


def area(boxes: AnyArray) -> AnyArray:
    """Areas (...); zero for boxes that are turned inside out."""
    result: AnyArray = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(-1)
    return result


def intersection(one: AnyArray, other: AnyArray) -> AnyArray:
    """Areas (...) that boxes (..., 4) and (..., 4), which broadcast, have in common."""
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    result: AnyArray = np.clip(high - low, 0, None).prod(-1)
    return result


def iou(boxes_a: npt.ArrayLike, boxes_b: npt.ArrayLike) -> Float64Array:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    one, other = np.asarray(boxes_a, np.float64)[:, None], np.asarray(boxes_b, np.float64)[None]
    shared = intersection(one, other)
    result: Float64Array = shared / np.maximum(area(one) + area(other) - shared, 1e-9)
    return result


def cut(boxes: Float32Array, width_px: int, height_px: int, *, room: float = 0.0) -> Float32Array:
    """Boxes (..., 4) cut to the edges of a picture.

    With ``room``, a share of the longer side of what is within, as much more may lie outside.
    """
    limit = np.array([width_px, height_px] * 2, np.float32) - np.float32(0.5)
    inside = np.clip(boxes, np.float32(-0.5), limit)
    margin = np.float32(room) * (inside[..., 2:] - inside[..., :2]).max(-1, keepdims=True)
    return np.asarray(np.clip(boxes, inside - margin, inside + margin), np.float32)
