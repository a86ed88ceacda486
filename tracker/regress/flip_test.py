"""People are also observed in the mirror image, and both answers are put together.

A network that was not made symmetric answers differently in the mirror. It costs a second inference, and is
known as a flip test. For film both answers are averaged (`FlipTest`): their errors differ. In pictures that
stand alone keypoints count most: those on which both looks agree are averaged, and where the network is torn
between two places, the surer answer is more often right than their mean (`observe_both_ways`).
"""

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.body.mirror import MIRROR_POSITION, MIRROR_QUAT, mirror_rotations
from kinestream.body.skeleton import MIRROR_KEYPOINTS
from kinestream.capture.orientation import Orientation
from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import BoolArray, Float64Array, RgbImage
from kinestream.latent.flow_map import FlowMap
from kinestream.regress.observation import Observations
from kinestream.regress.upright import Observer, UprightObservations, observe_upright

SEEN_IN_BOTH: Final = 0.3
"""Confidence of keypoints by which it is told whether both looks saw the same person."""
LEAST_IN_BOTH: Final = 4
SAME_PERSON: Final = 0.1
"""Median distance of those keypoints, as a share of the box's longer side, up to which they did."""
AGREEING: Final = 0.08
"""Distance of two answers for one keypoint, as a share of that side, up to which they mean the same place."""
_ORDER: Final = list(MIRROR_KEYPOINTS)
_KEYPOINTS: Final = ("keypoints_px", "covariance_px2")
_MIRROR: Final = Orientation(mirrored=True)


class FlipTest:
    """An observer that answers with the mean of what another one says of picture and mirror image.

    Deviations and presence are those of the picture, and so is everything of whom the mirror image shows
    somebody else, or nobody for sure.
    """

    def __init__(self, observer: Observer, flow: FlowMap) -> None:
        """Take the observer, and the flow of its latents."""
        self._observer, self._flow = observer, flow

    def __call__(
        self,
        image_rgb: RgbImage,
        boxes_xyxy_px: npt.ArrayLike,
        camera: Camera,
        quarter_turns: npt.ArrayLike | None = None,
    ) -> Observations:
        """Observe the people in boxes (P, 4) of an image (H, W, 3), in crops turned clockwise (P,)."""
        boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
        turns = np.zeros(len(boxes), np.int64) if quarter_turns is None else quarter_turns
        seen = self._observer(image_rgb, boxes, camera, turns)
        if not len(boxes):
            return seen
        other = _mirror_image(self._observer, image_rgb, boxes, camera, turns)
        poses = [self._flow.encode(mirror_rotations(self._flow.rotations(z))) for z in other.z]
        root = other.root_quat_wxyz * MIRROR_QUAT
        root *= np.where((root * seen.root_quat_wxyz).sum(1, keepdims=True) < 0, -1, 1)
        other = replace(
            other,
            z=np.stack(poses),
            root_quat_wxyz=root,
            translation_m=other.translation_m * MIRROR_POSITION,
        )
        same = _same_person(seen, other, _distance(seen, other, boxes))
        means = {}
        for name in (*_KEYPOINTS, "z", "root_quat_wxyz", "translation_m", "betas"):
            one, two = getattr(seen, name), getattr(other, name)
            chosen = same.reshape(-1, *[1] * (one.ndim - 1))
            means[name] = np.where(chosen, (one + two) / 2, one).astype(np.float32)
        means["root_quat_wxyz"] /= np.linalg.norm(means["root_quat_wxyz"], axis=1, keepdims=True)
        return replace(seen, **means)


def observe_both_ways(
    observer: Observer,
    image_rgb: RgbImage,
    boxes_xyxy_px: npt.ArrayLike,
    camera: Camera,
    quarter_turns: npt.ArrayLike | None = None,
    may_turn: npt.ArrayLike | None = None,
) -> UprightObservations:
    """As `observe_upright`, with the keypoints of both looks."""
    upright = observe_upright(observer, image_rgb, boxes_xyxy_px, camera, quarter_turns, may_turn)
    return with_mirrored_keypoints(observer, image_rgb, boxes_xyxy_px, camera, upright)


def with_mirrored_keypoints(
    observer: Observer,
    image_rgb: RgbImage,
    boxes_xyxy_px: npt.ArrayLike,
    camera: Camera,
    upright: UprightObservations,
) -> UprightObservations:
    """What was seen in boxes (P, 4), its keypoints put together with those of the mirror image.

    Confidence and covariance of each are the surer look's, and so is the place where the looks disagree; else
    it is their mean, weighted by confidence.
    """
    seen, boxes = upright.seen, np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
    if not len(boxes):
        return upright
    other = _mirror_image(observer, image_rgb, boxes, camera, upright.quarter_turns)
    distance = _distance(seen, other, boxes)
    same = _same_person(seen, other, distance)[:, None]
    confidence, in_mirror = seen.keypoints_px[..., 2], other.keypoints_px[..., 2]
    surer = same & (in_mirror > confidence)
    both = {
        name: np.where(surer[..., None], getattr(other, name), getattr(seen, name)) for name in _KEYPOINTS
    }
    agree = same & (distance < AGREEING)
    share = np.where(agree, in_mirror / np.maximum(confidence + in_mirror, 1e-6), surer)[..., None]
    first, second = seen.keypoints_px[..., :2], other.keypoints_px[..., :2]
    both["keypoints_px"][..., :2] = first + share * (second - first)
    return upright._replace(seen=replace(seen, **both))


def _mirror_image(
    observer: Observer,
    image_rgb: RgbImage,
    boxes_xyxy_px: npt.NDArray[np.floating],
    camera: Camera,
    quarter_turns: npt.ArrayLike,
) -> Observations:
    """What is seen of the mirror image, its keypoints as they lie in the picture; the rest as observed."""
    last = image_rgb.shape[1] - 1
    boxes = boxes_xyxy_px[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [last, 0, last, 0]
    turns = -np.asarray(quarter_turns, np.int64) % 4
    seen = observer(_MIRROR.image(image_rgb), boxes, _MIRROR.camera(camera), turns)
    keypoints, covariance = seen.keypoints_px[:, _ORDER], seen.covariance_px2[:, _ORDER]
    keypoints[..., 0] = last - keypoints[..., 0]
    covariance[..., 1] *= -1
    return replace(seen, keypoints_px=keypoints, covariance_px2=covariance)


def _same_person(one: Observations, other: Observations, distance: Float64Array) -> BoolArray:
    """Of whom (P,) both looks saw the same person, by keypoints so far apart (P, 23)."""
    both = np.minimum(one.keypoints_px[..., 2], other.keypoints_px[..., 2]) > SEEN_IN_BOTH
    same = [
        seen.sum() >= LEAST_IN_BOTH and np.median(apart[seen]) < SAME_PERSON
        for apart, seen in zip(distance, both, strict=True)
    ]
    return np.array(same, np.bool_)


def _distance(
    one: Observations, other: Observations, boxes_xyxy_px: npt.NDArray[np.floating]
) -> Float64Array:
    """How far keypoints (P, 23) of both looks are apart, as a share of the longer sides of boxes (P, 4)."""
    sides_px = (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).max(1)
    apart = np.linalg.norm(one.keypoints_px[..., :2] - other.keypoints_px[..., :2], axis=-1)
    return np.asarray(apart / sides_px[:, None], np.float64)
