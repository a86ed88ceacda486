"""Keypoints of the picture and of its mirror image, the surer ones of both.

A network that was not made symmetric answers differently in the mirror, and where it is torn between two
places, the surer answer is more often right than their mean. It costs another inference, so it is for
pictures that stand alone.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import MIRROR_KEYPOINTS
from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import BoolArray, Float32Array, RgbImage
from kinestream.regress.upright import Observer, UprightObservations, observe_upright

SEEN_IN_BOTH: Final = 0.3
"""Confidence of keypoints by which it is told whether both looks saw the same person."""
LEAST_IN_BOTH: Final = 4
SAME_PERSON: Final = 0.1
"""Median distance of those keypoints, as a share of the box's longer side, up to which they did."""
_ORDER: Final = list(MIRROR_KEYPOINTS)


def observe_both_ways(
    observer: Observer,
    image_rgb: RgbImage,
    boxes_xyxy_px: npt.ArrayLike,
    camera: Camera,
    quarter_turns: npt.ArrayLike | None = None,
    may_turn: npt.ArrayLike | None = None,
) -> UprightObservations:
    """As `observe_upright`, with those keypoints replaced of which the mirror image is surer."""
    upright = observe_upright(observer, image_rgb, boxes_xyxy_px, camera, quarter_turns, may_turn)
    seen = upright.seen
    boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
    if not len(boxes):
        return upright
    last = image_rgb.shape[1] - 1
    mirrored_boxes = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [last, 0, last, 0]
    image = np.ascontiguousarray(image_rgb[:, ::-1])
    other = observer(image, mirrored_boxes, camera, -upright.quarter_turns % 4)
    keypoints, covariance = other.keypoints_px[:, _ORDER], other.covariance_px2[:, _ORDER]
    keypoints[..., 0] = last - keypoints[..., 0]
    covariance[..., 1] *= -1
    surer = keypoints[..., 2] > seen.keypoints_px[..., 2]
    surer &= _same_person(seen.keypoints_px, keypoints, (boxes[:, 2:] - boxes[:, :2]).max(1))[:, None]
    both = replace(
        seen,
        keypoints_px=np.where(surer[..., None], keypoints, seen.keypoints_px),
        covariance_px2=np.where(surer[..., None], covariance, seen.covariance_px2),
    )
    return upright._replace(seen=both)


def _same_person(
    one_px: Float32Array, other_px: Float32Array, sides_px: npt.NDArray[np.floating]
) -> BoolArray:
    """Of P pairs of keypoints (P, 23, 3), which are of one person in a box of such a side (P,)."""
    both = np.minimum(one_px[..., 2], other_px[..., 2]) > SEEN_IN_BOTH
    distance = np.linalg.norm(one_px[..., :2] - other_px[..., :2], axis=-1)
    same = [
        both[row].sum() >= LEAST_IN_BOTH and np.median(distance[row][both[row]]) < SAME_PERSON * side
        for row, side in enumerate(sides_px)
    ]
    return np.array(same, np.bool_)
