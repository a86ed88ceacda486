"""COCO people: keypoints (``person_keypoints_*.json``), silhouettes, and DensePose part masks where given.

Layout as published: ``annotations/person_keypoints_train2017.json`` with ``images`` (id, file_name, height,
width) and ``annotations`` (image_id, bbox, keypoints of 17 x (x, y, v), segmentation, iscrowd); in those of
DensePose-COCO also ``dp_masks``, 14 run-length coded masks of 256 x 256 over the box. Pictures in a folder.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_NAMES, PART_NAMES
from kinestream.trainer.data.annotated.annotated import (
    AnnotatedPerson,
    AnnotationError,
    keypoint_array,
    person_map,
)
from kinestream.trainer.data.crops.crop_sample import PART_PERSON
from kinestream.trainer.data.photos.image_augment import Image

OCCLUDED_WEIGHT: Final = 0.7
"""Weight of keypoints that were labelled although hidden (v = 1)."""

DENSEPOSE_PARTS: Final[tuple[str | None, ...]] = (
    None,  # torso: upper or lower is not told
    "r_hand", "l_hand", "l_foot", "r_foot", "r_thigh", "l_thigh", "r_shin", "l_shin",
    "l_upper_arm", "r_upper_arm", "l_forearm", "r_forearm", "head",
)  # fmt: skip
"""Our part for each of the 14 masks of DensePose, in its order."""

_DP_SIDE: Final = 256


def load_coco(annotations: Path, images: Path) -> list[AnnotatedPerson]:
    """People with at least one labelled keypoint; crowds are left out.

    Raises ``FileNotFoundError``, and :class:`AnnotationError` for another layout.
    """
    annotations = Path(annotations)
    if not annotations.exists():
        raise FileNotFoundError(f"no annotations at {annotations}; see docs/training.md for the layout")
    content = json.loads(annotations.read_text(encoding="utf-8"))
    people = []
    try:
        pictures = {entry["id"]: entry for entry in content["images"]}
        for entry in content["annotations"]:
            if entry.get("iscrowd") or not any(entry["keypoints"][2::3]):
                continue
            picture = pictures[entry["image_id"]]
            left, top, width, height = entry["bbox"]
            values = np.array(entry["keypoints"], np.float64).reshape(17, 3)
            weight = np.select([values[:, 2] == 2, values[:, 2] == 1], [1.0, OCCLUDED_WEIGHT], 0.0)
            named = zip(KEYPOINT_NAMES[:17], values[:, :2], weight, strict=True)
            people.append(
                AnnotatedPerson(
                    Path(images) / picture["file_name"],
                    keypoint_array({name: (*point, share) for name, point, share in named}),
                    box_xyxy_px=np.array([left, top, left + width, top + height], np.float64),
                    part_map=partial(part_map, entry, (int(picture["height"]), int(picture["width"]))),
                )
            )
    except (KeyError, TypeError, ValueError) as error:
        raise AnnotationError(f"{annotations}: not COCO person keypoints ({error!r})") from error
    return people


def part_map(entry: dict[str, Any], size: tuple[int, int]) -> Image:
    """Part map (H, W) of an annotation: its silhouette, with DensePose parts where it has them."""
    labels = person_map(silhouette(entry["segmentation"], size))
    if not entry.get("dp_masks"):
        return labels
    left, top, width, height = entry["bbox"]
    first = np.floor([left, top]).astype(int).clip(0)
    last = np.minimum(np.ceil([left + width, top + height]).astype(int), size[::-1])
    columns, rows = (np.arange(first[axis], last[axis]) for axis in (0, 1))
    # mask pixel of each picture pixel in the box
    x = ((columns + 0.5 - left) / width * _DP_SIDE).astype(int).clip(0, _DP_SIDE - 1)
    y = ((rows + 0.5 - top) / height * _DP_SIDE).astype(int).clip(0, _DP_SIDE - 1)
    window = labels[first[1] : last[1], first[0] : last[0]]
    for mask, name in zip(entry["dp_masks"], DENSEPOSE_PARTS, strict=True):
        if mask:
            label = PART_PERSON if name is None else 1 + PART_NAMES.index(name)
            window[decode_runs(mask)[np.ix_(y, x)]] = label
    return labels


def silhouette(segmentation: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mask (H, W) of polygons, or of run lengths."""
    if isinstance(segmentation, dict):
        return decode_runs(segmentation)
    mask = np.zeros(size, np.uint8)
    polygons = [np.array(p, np.float64).reshape(-1, 2).round().astype(np.int32) for p in segmentation]
    cv2.fillPoly(mask, polygons, 1)
    return mask.astype(bool)


def decode_runs(coded: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Mask (H, W) of COCO's run lengths: ``size`` and ``counts``, as numbers or as its compressed text.

    Runs go down the columns and begin with background. In the text every number is written in groups of
    five bits, lowest first, one character (from "0" on) each, a sixth bit set where another follows; from the
    fourth run on the difference to the run before the last is written.
    """
    height, width = coded["size"]
    counts = coded["counts"]
    runs = _numbers(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise AnnotationError(f"run lengths add up to {sum(runs)}, not to {height} x {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _numbers(text: str) -> list[int]:
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise AnnotationError(f"run lengths hold the character {character!r}")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            if len(numbers) > 2:
                value += numbers[-2]
            numbers.append(value)
            value = shift = 0
    if shift:
        raise AnnotationError("run lengths end in the middle of a number")
    return numbers
