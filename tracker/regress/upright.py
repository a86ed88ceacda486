"""People who are not upright in the picture are observed in a crop that is turned with them.

The network has seen few people upside down: of the joints of 600 photos of acrobats it finds 75 % where the
trunk is upright and 51 % where it hangs down, and 2 % more of all where the crop is turned by the quarter
turn that the first answer asks for, if the second answer is surer of itself.
"""

import math
from dataclasses import fields
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import BoolArray, Float32Array, Float64Array, Int64Array, RgbImage
from kinestream.regress.observation import Observations

TILTED_RAD = math.radians(60)
"""A trunk that leans further than this in its crop is looked at again in a turned one."""
TRUNK_SEEN = 0.1
"""Least confidence of shoulders and hips by which a trunk's direction is told."""

_SHOULDERS, _HIPS = (
    [KEYPOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right")] for name in ("shoulder", "hip")
)


class Observer(Protocol):
    """Anything that observes people in boxes can stand in for `kinestream.regress.regressor.Regressor`."""

    def __call__(
        self,
        image_rgb: RgbImage,
        boxes_xyxy_px: npt.ArrayLike,
        camera: Camera,
        quarter_turns: npt.ArrayLike | None = None,
    ) -> Observations:
        """Observe the people in boxes (P, 4) of an image (H, W, 3), in crops turned clockwise (P,)."""
        ...


class UprightObservations(NamedTuple):
    """What is seen of P people, and in which crops.

    Attributes:
        seen: the observations.
        quarter_turns: (P,) by how many the crop that showed it is turned clockwise in the picture.
        looked_again: (P,) who was observed twice.
    """

    seen: Observations
    quarter_turns: Int64Array
    looked_again: BoolArray


def observe_upright(
    observer: Observer,
    image_rgb: RgbImage,
    boxes_xyxy_px: npt.ArrayLike,
    camera: Camera,
    quarter_turns: npt.ArrayLike | None = None,
    may_turn: npt.ArrayLike | None = None,
) -> UprightObservations:
    """Observe people, and those who lean far in their crop once more, in a turned one, if that is surer.

    Args:
        observer: what observes.
        image_rgb: (H, W, 3).
        boxes_xyxy_px: (P, 4).
        camera: that took the image.
        quarter_turns: (P,) of the crops to begin with; none where left out.
        may_turn: (P,) whether to look again if need be; everybody where left out.

    Raises as the observer does.
    """
    boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
    turns = np.zeros(len(boxes), np.int64) if quarter_turns is None else np.array(quarter_turns, np.int64)
    seen = observer(image_rgb, boxes, camera, turns)
    wanted, leans = _wanted_turns(seen.keypoints_px, turns)
    again = leans if may_turn is None else leans & np.asarray(may_turn, np.bool_)
    rows = np.flatnonzero(again)
    if not len(rows):
        return UprightObservations(seen, turns, again)
    second = observer(image_rgb, boxes[rows], camera, wanted[rows])
    surer = second.keypoints_px[..., 2].mean(1) > seen.keypoints_px[rows, :, 2].mean(1)
    turns[rows[surer]] = wanted[rows[surer]]
    return UprightObservations(_replaced(seen, rows[surer], second, surer), turns, again)


def trunk_tilt_rad(keypoints_px: Float32Array) -> Float64Array:
    """How far trunks lean clockwise from upright in the picture (P,), by keypoints (P, 23, 3)."""
    trunk = keypoints_px[:, _SHOULDERS, :2].mean(1) - keypoints_px[:, _HIPS, :2].mean(1)
    tilt: Float64Array = np.arctan2(trunk[:, 0], -trunk[:, 1]).astype(np.float64)
    return tilt


def _wanted_turns(keypoints_px: Float32Array, turns: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Quarter turns (P,) by which trunks would stand upright, and who leans too far in a crop turned so."""
    tilt = np.nan_to_num(trunk_tilt_rad(keypoints_px))  # such keypoints count as a miss later
    in_crop = np.remainder(tilt - turns * (math.pi / 2) + math.pi, 2 * math.pi) - math.pi
    sure = keypoints_px[:, _SHOULDERS + _HIPS, 2].min(1) > TRUNK_SEEN
    return np.rint(tilt / (math.pi / 2)).astype(np.int64) % 4, (np.abs(in_crop) > TILTED_RAD) & sure


def _replaced(seen: Observations, rows: Int64Array, other: Observations, chosen: BoolArray) -> Observations:
    """The observations with these rows taken from the chosen ones of another's."""
    values = {entry.name: getattr(seen, entry.name).copy() for entry in fields(seen)}
    for name, value in values.items():
        value[rows] = getattr(other, name)[chosen]
    return Observations(**values)
