"""Machine labels of people: what a teacher says of one picture, and the label file that training reads.

A label file (npz) has one row per person seen, and one row with ``detected`` False per picture of nobody:

===========  =======  ========  ==================================================================
files        N        str       file name of the photo, or of the video
frame        N        int32     frame of the video; -1 for photos
person       N        int16     number of the person, kept from frame to frame; -1 where nobody was found
size         N, 2     int16     width, height of the picture in px
detected     N        bool      a person was found; all further values are 0 (flip_err 9) where not
image        N,33,4   float16   x, y in px of the picture, z in picture widths, visibility 0..1
world        N,33,3   float16   metres from between the hips; x right, y down, z away from the camera
mask         N, 512   uint8     silhouette, 64 x 64 bits (``np.packbits``), stretched over the whole picture
flip_err     N        float16   disagreement with the mirrored picture in torso lengths, 9 if not found there
box          N, 4     float32   left, top, right, bottom of the person in px of the picture
===========  =======  ========  ==================================================================
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

NUM_LANDMARKS: Final = 33
MASK_SIDE: Final = 64
NOT_FOUND: Final = 9.0
"""``flip_err`` of people who are not found in the mirrored picture, or not at all."""

LIMB_LANDMARKS: Final = (11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Shoulders, elbows, wrists, hips, knees, ankles; left before right."""

MIRROR_LANDMARKS: Final = (0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9) + tuple(
    number for right in range(12, 33, 2) for number in (right, right - 1)
)
"""The landmark that each becomes in the mirror."""

VISIBLE: Final = 0.5
_BOX_SLACK: Final = 0.12


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What a teacher says of one person."""

    image: Floats  # (33, 4) x, y in px of the picture, z in picture widths, visibility
    world_m: Floats  # (33, 3) metres from between the hips, camera axes
    mask: Floats  # (H, W) float32 0..1, the silhouette in the picture


class Teacher(Protocol):
    """Finds one person in an RGB picture (H, W, 3); None where it finds nobody."""

    def __call__(self, image_rgb: Image) -> Landmarks | None:
        """Label the picture."""
        ...


@dataclass(frozen=True, eq=False)
class LabelRow:
    """One row of a label file, see the module; ``person`` is -1 where nobody was found."""

    file: str
    frame: int
    size: tuple[int, int]
    person: int
    image: Floats
    world_m: Floats
    mask_bits: npt.NDArray[np.uint8]
    flip_error: float
    box: Floats

    @classmethod
    def of(
        cls, file: str, frame: int, size: tuple[int, int], person: int, seen: Landmarks, error: float
    ) -> "LabelRow":
        """The row of a person; the silhouette is packed at once, since whole ones fill the memory."""
        bits = packed_mask(seen.mask)
        return cls(file, frame, size, person, seen.image, seen.world_m, bits, error, person_box(seen))

    @classmethod
    def nobody(cls, file: str, frame: int, size: tuple[int, int]) -> "LabelRow":
        """The row of a picture without anybody."""
        image, world = np.zeros((NUM_LANDMARKS, 4), np.float32), np.zeros((NUM_LANDMARKS, 3), np.float32)
        bits = np.zeros(MASK_SIDE**2 // 8, np.uint8)
        return cls(file, frame, size, -1, image, world, bits, NOT_FOUND, np.zeros(4, np.float32))


def mirrored(landmarks: Landmarks) -> Landmarks:
    """The labels of the mirrored picture, from those of the picture."""
    width = landmarks.mask.shape[1]
    order = list(MIRROR_LANDMARKS)
    image, world = landmarks.image[order].copy(), landmarks.world_m[order].copy()
    image[:, 0] = width - 1 - image[:, 0]
    world[:, 0] *= -1
    return Landmarks(image, world, np.ascontiguousarray(landmarks.mask[:, ::-1]))


def flip_error(seen: Landmarks, in_mirror: Landmarks | None) -> float:
    """Mean distance of the limb joints between a picture and its mirror image, in torso lengths."""
    if in_mirror is None:
        return NOT_FOUND
    limbs = list(LIMB_LANDMARKS)
    here, there = seen.image[limbs, :2], mirrored(in_mirror).image[limbs, :2]
    return float(np.linalg.norm(here - there, axis=1).mean() / torso_px(seen))


def torso_px(seen: Landmarks) -> float:
    """Mean diagonal from shoulder to opposite hip, at least a quarter of the joints' extent."""
    points = seen.image[:, :2]
    diagonal = (np.linalg.norm(points[11] - points[24]) + np.linalg.norm(points[12] - points[23])) / 2
    extent = np.ptp(points[list(LIMB_LANDMARKS)], axis=0).max()
    return float(max(diagonal, extent / 4, 1.0))


def person_box(seen: Landmarks) -> Floats:
    """Left, top, right, bottom (4,) px: visible landmarks, and the silhouette around them."""
    height, width = seen.mask.shape
    visible = seen.image[:, 3] >= VISIBLE
    points = seen.image[visible if visible.any() else slice(None), :2]
    low, high = points.min(0), points.max(0)
    slack = _BOX_SLACK * (high - low).max()
    size = np.array([width, height])
    first = np.clip(np.floor(low - slack), 0, size - 1).astype(int)
    last = np.clip(np.ceil(high + slack), 1, size).astype(int)
    rows, columns = np.nonzero(seen.mask[first[1] : last[1], first[0] : last[0]] > 0.5)
    if len(rows):
        low = np.minimum(low, first + (columns.min(), rows.min()))
        high = np.maximum(high, first + (columns.max(), rows.max()))
    return np.concatenate([np.clip(low, 0, size - 1), np.clip(high, 0, size - 1)]).astype(np.float32)


def packed_mask(mask: Floats) -> npt.NDArray[np.uint8]:
    """A silhouette (H, W) 0..1 as 64 x 64 bits."""
    small = cv2.resize(mask, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small > 0.5)


def save_labels(path: Path, rows: list[LabelRow]) -> None:
    """Write a label file, whole or not at all; ``ValueError`` for no rows."""
    if not rows:
        raise ValueError(f"{path}: no labels to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            files=np.array([row.file for row in rows], dtype=str),
            frame=np.array([row.frame for row in rows], np.int32),
            person=np.array([row.person for row in rows], np.int16),
            size=np.array([row.size for row in rows], np.int16),
            detected=np.array([row.person >= 0 for row in rows], np.bool_),
            image=np.array([row.image for row in rows], np.float16),
            world=np.array([row.world_m for row in rows], np.float16),
            mask=np.array([row.mask_bits for row in rows], np.uint8),
            flip_err=np.array([row.flip_error for row in rows], np.float16),
            box=np.array([row.box for row in rows], np.float32),
        )
    os.replace(unfinished, path)
