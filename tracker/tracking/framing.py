"""Which part of the picture shows somebody: boxes around people, and what of them the network is given."""

from typing import Final

import numpy as np

from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import BoolArray, Float32Array

CUT_OFF_ROOM: Final = 0.2
"""Of somebody who is cut off, so much outside of the picture is shown, as a share of the visible box."""
CLOSE_UP: Final = 0.6
"""A detection this large, as a share of the picture's shorter side, is probably of somebody cut off."""
CLOSER: Final = 0.88
"""So much of the box around somebody who was just seen is given to the network.

Boxes are those of outlines and hold everything that the body may reach; the network has learned from crops
around keypoints. Below 0.8 limbs are cut off."""
CUT_OFF: Final = 0.05
"""Whose box reaches further beyond the picture, as a share of its longer side, is cut off.

Boxes of outlines are wider than the keypoints, so that up to here all of these may still be within."""
_OUTWARD: Final[Float32Array] = np.array([-1, -1, 1, 1], np.float32)


def with_room(boxes_xyxy_px: Float32Array, detected: BoolArray, camera: Camera) -> Float32Array:
    """Boxes (P, 4) within the picture, with room around those whom it cuts off.

    Those who were only ``detected`` (P,) and are large probably are.
    """
    boxes = np.array(boxes_xyxy_px, np.float32)
    visible = camera.within_picture(boxes)
    side = (visible[:, 2:] - visible[:, :2]).max(1, initial=0)
    close_up = detected & (side > CLOSE_UP * min(camera.width_px, camera.height_px))
    boxes[close_up] += CUT_OFF_ROOM * side[close_up, None] * _OUTWARD
    return camera.within_picture(boxes, room=CUT_OFF_ROOM)


def framed(boxes_xyxy_px: Float32Array, uncertain: BoolArray, camera: Camera) -> Float32Array:
    """What the network is given of these boxes (P, 4).

    The middle of each, and all of it where the place is ``uncertain`` (P,) or the picture cuts somebody off.
    """
    boxes = np.asarray(boxes_xyxy_px, np.float32)
    side = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    outside = np.abs(camera.within_picture(boxes) - boxes).max(1, initial=0)
    whole = uncertain | (outside > CUT_OFF * side)
    center = np.tile((boxes[:, :2] + boxes[:, 2:]) / 2, 2)
    share = np.where(whole, np.float32(1), np.float32(CLOSER))[:, None]
    return np.asarray(center + share * (boxes - center), np.float32)
