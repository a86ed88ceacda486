"""Photos and video without labels: the same people seen twice, cleanly and damaged (self-supervision).

A sample is a short run of frames of one person. The clean view frames the person as the tracker would; the
augmented one is turned, cut, mirrored and damaged. An answer on the first is a target for the second.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.trainer.data.crops.crop_sample import (
    PART_STRIDE,
    PART_UNKNOWN,
    CropBatch,
    CropSample,
    Floats,
    collate,
)
from kinestream.trainer.data.photos.image_augment import Image, damage, random_similarity, warp
from kinestream.trainer.data.photos.image_file import decode, packed_image

FloatArray = npt.NDArray[np.float64]

PHOTO_ENDINGS: Final = (".jpg", ".jpeg", ".png")
CLEAN_MARGIN: Final = 1.25
"""Side of the clean view over the longer side of the person's box, as the tracker has it."""

_LONGER_PX: Final = 1280
"""Frames are kept no larger than this."""
_MAX_GAP_S: Final = 0.5


@dataclass(frozen=True, eq=False)
class Views:
    """T frames of one person, seen twice."""

    clean: Image  # (T, S, S, 3) uint8 RGB
    augmented: Image  # (T, S, S, 3)
    from_clean: Floats  # (2, 3) crop coordinates (-1..1) of the clean view -> those of the augmented one
    mirrored: bool  # whether the augmented view is a mirror image
    times_s: FloatArray  # (T,) of the frames


class ViewBatch(NamedTuple):
    """N samples of T frames as tensors, frames of a sample one after the other: B = N T."""

    clean: CropBatch
    augmented: CropBatch
    from_clean: Tensor  # (B, 2, 3)
    mirrored: Tensor  # (B,) bool
    times_s: Tensor  # (N, T)

    def to(self, device: torch.device) -> "ViewBatch":
        """The batch on another device."""
        return ViewBatch(
            self.clean.to(device),
            self.augmented.to(device),
            *[field.to(device, non_blocking=True) for field in self[2:]],
        )


def collate_views(samples: list[Views]) -> ViewBatch:
    """Stack samples of equal length; nothing is labelled but that a person is there."""
    frames = len(samples[0].clean)
    return ViewBatch(
        collate([_unlabelled(image) for sample in samples for image in sample.clean]),
        collate([_unlabelled(image) for sample in samples for image in sample.augmented]),
        torch.from_numpy(np.stack([s.from_clean for s in samples])).float().repeat_interleave(frames, 0),
        torch.tensor([s.mirrored for s in samples]).repeat_interleave(frames, 0),
        torch.from_numpy(np.stack([s.times_s for s in samples])),
    )


class VideoViews:
    """Runs of ``frames`` labelled frames of one video; boxes come from a label file of the off-line teacher.

    Frames are kept in memory as packed JPEG.
    """

    def __init__(self, video: Path, labels: Path, *, crop_px: int, frames: int = 4) -> None:
        """Read a video and the ``frame``, ``person``, ``detected`` and ``box`` of its label file."""
        with np.load(labels, allow_pickle=False) as content:
            missing = [k for k in ("frame", "person", "detected", "box") if k not in content.files]
            if missing:
                raise ValueError(f"{labels}: no label file of a video, keys {missing} are missing")
            rows = np.flatnonzero(content["detected"])
            number, person = content["frame"][rows], content["person"][rows]
            boxes = content["box"][rows].astype(np.float64)
        self._crop_px = crop_px
        self._packed: dict[int, npt.NDArray[np.uint8]] = {}
        self._time_s: dict[int, float] = {}
        scale = 1.0
        for index, time_s, image in _frames(video):
            if index in number:
                small, scale = _limited(image)
                self._packed[index] = _packed(small)
                self._time_s[index] = time_s
        absent = sorted(set(number.tolist()) - set(self._packed))
        if absent:
            raise ValueError(f"{video}: {labels} labels frames that are not in it, {absent[0]} among them")
        self._runs: list[tuple[list[int], FloatArray]] = []
        for one in np.unique(person):
            mine = np.flatnonzero(person == one)
            for first in range(len(mine) - frames + 1):
                run = mine[first : first + frames]
                times = np.array([self._time_s[int(k)] for k in number[run]])
                if (np.diff(times) <= _MAX_GAP_S).all():
                    self._runs.append((number[run].tolist(), (boxes[run] + 0.5) * scale - 0.5))
        if not self._runs:
            raise ValueError(f"{labels}: nobody is seen in {frames} frames one after the other")

    def __len__(self) -> int:
        return len(self._runs)

    def sample(self, rng: np.random.Generator) -> Views:
        """Draw a run of frames; one window shows all of them."""
        numbers, boxes = self._runs[rng.integers(len(self))]
        images = [decode(self._packed[number]) for number in numbers]
        box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
        return two_views(rng, images, box, [self._time_s[k] for k in numbers], crop_px=self._crop_px)


class PhotoViews:
    """Photos of a folder, each cut around one person; a photo is a run of one frame, or of equal ones."""

    def __init__(self, folder: Path, *, crop_px: int, frames: int = 1) -> None:
        """Keep the photos of ``folder`` in memory; ``ValueError`` when there is none."""
        paths = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in PHOTO_ENDINGS)
        if not paths:
            raise ValueError(f"{folder}: no photo in it ({', '.join(PHOTO_ENDINGS)})")
        self._packed = [packed_image(path) for path in paths]
        self._crop_px, self._frames = crop_px, frames

    def __len__(self) -> int:
        return len(self._packed)

    def sample(self, rng: np.random.Generator) -> Views:
        """Draw one photo."""
        image = decode(self._packed[rng.integers(len(self))])
        height, width = image.shape[:2]
        centre, half = np.array([width - 1, height - 1]) / 2, max(width, height) / 2 / CLEAN_MARGIN
        box = np.concatenate([centre - half, centre + half])
        times = [0.04 * k for k in range(self._frames)]
        return two_views(rng, [image] * self._frames, box, times, crop_px=self._crop_px)


def two_views(
    rng: np.random.Generator, images: list[Image], box: FloatArray, times_s: list[float], *, crop_px: int
) -> Views:
    """Clean and augmented views of ``box`` (4,) px in each image; one augmenting map for all of them."""
    side = CLEAN_MARGIN * float((box[2:] - box[:2]).max())
    scale, centre = crop_px / max(side, 8.0), (box[:2] + box[2:]) / 2
    clean = np.array([[scale, 0, 0], [0, scale, 0]])
    clean[:, 2] = (crop_px - 1) / 2 - scale * centre
    corners = np.array([(box[a], box[b]) for a in (0, 2) for b in (1, 3)])
    matrix = random_similarity(rng, corners, crop_px=crop_px)
    mirror = bool(rng.random() < 0.5)
    if mirror:
        matrix[0] = -matrix[0]
        matrix[0, 2] += crop_px - 1
    to_unit = np.array([[2 / crop_px, 0, 1 / crop_px - 1], [0, 2 / crop_px, 1 / crop_px - 1], [0, 0, 1]])
    from_clean = to_unit @ _square(matrix) @ np.linalg.inv(_square(clean)) @ np.linalg.inv(to_unit)
    return Views(
        np.stack([warp(image, clean, crop_px, border=None) for image in images]),
        np.stack([damage(rng, warp(image, matrix, crop_px, border=None)) for image in images]),
        from_clean[:2].astype(np.float32),
        mirror,
        np.array(times_s) - times_s[0],
    )


def _square(matrix: FloatArray) -> FloatArray:
    return np.concatenate([matrix, [[0.0, 0.0, 1.0]]])


def _unlabelled(image: Image) -> CropSample:
    side = image.shape[0] // PART_STRIDE
    return CropSample(
        image,
        np.zeros((NUM_KEYPOINTS, 3), np.float32),
        np.zeros(NUM_KEYPOINTS, np.bool_),
        np.full((side, side), PART_UNKNOWN, np.uint8),
    )


def _frames(path: Path) -> Iterator[tuple[int, float, Image]]:
    """Number, time and RGB picture of every frame of a video."""
    with av.open(f"file:{path}") as container:
        rate = float(container.streams.video[0].average_rate or 30)
        for index, frame in enumerate(container.decode(video=0)):
            time_s = index / rate if frame.time is None else float(frame.time)
            yield index, time_s, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _limited(image: Image) -> tuple[Image, float]:
    scale = min(1.0, _LONGER_PX / max(image.shape[:2]))
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _packed(image: Image) -> npt.NDArray[np.uint8]:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 93])[1], np.uint8)
