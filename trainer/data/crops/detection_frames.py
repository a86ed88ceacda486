"""Frames for the detector: rendered people and cut-out photo people on backgrounds, and empty frames."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.boxed_frames import MIN_SIDE_PX, MIN_VISIBLE, visible_enough
from kinestream.trainer.data.crops.crop_pool import over
from kinestream.trainer.data.photos.image_augment import blob, damage
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.data.weighted import Weighted

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_EMPTY_RATE = 0.15
_WHOLE_PHOTO_RATE = 0.2
_DECOY_RATE = 0.5
_MAX_DECOYS = 4


@dataclass(frozen=True)
class CutOut:
    """One person: premultiplied colour and coverage (H, W, 4), tight around the silhouette."""

    rgba: Image


class PoolCutOuts:
    """People of a crop pool (see :mod:`kinestream.trainer.data.crops.crop_pool`)."""

    def __init__(self, folder: Path) -> None:
        self._rgba = np.load(Path(folder) / "rgba.npy", mmap_mode="r")

    def sample(self, rng: np.random.Generator) -> CutOut:
        """Draw one person."""
        return _tight(np.asarray(self._rgba[int(rng.integers(len(self._rgba)))]))


class PhotoCutOuts:
    """People cut out of a photo set by their silhouettes."""

    def __init__(self, folder: Path, labels: PseudoLabels) -> None:
        self._packed = [packed_image(Path(folder) / file) for file in labels.files]
        self._masks = labels.masks

    def whole(self, rng: np.random.Generator) -> tuple[Image, Floats]:
        """Draw one photo as it is, and the box (4,) of the person's silhouette in it."""
        row = int(rng.integers(len(self._packed)))
        image, mask = decode(self._packed[row]), self._masks[row]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return image, np.zeros(4, np.float32)
        cells = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
        return image, cells / 64 * np.array(image.shape[1::-1] * 2, np.float32)

    def sample(self, rng: np.random.Generator) -> CutOut:
        """Draw one person."""
        row = int(rng.integers(len(self._packed)))
        image = decode(self._packed[row])
        alpha = cv2.resize(
            self._masks[row].astype(np.uint8) * 255, image.shape[1::-1], interpolation=cv2.INTER_LINEAR
        )
        share = np.asarray(alpha)[..., None]
        colour = (image.astype(np.uint16) * share // 255).astype(np.uint8)
        return _tight(np.concatenate([colour, share], 2))


class DetectionFrames:
    """Random frames with the boxes of the people in them."""

    def __init__(self, sources: list[tuple[PoolCutOuts | PhotoCutOuts, float]], backdrops: Backdrops) -> None:
        self._sources = Weighted(sources)
        self._backdrops = backdrops

    def sample(self, rng: np.random.Generator, *, shape: tuple[int, int]) -> tuple[Image, Floats]:
        """A frame of ``shape`` (H, W) and the boxes (P, 4) of the visible people."""
        photos = [source for source in self._sources.all if isinstance(source, PhotoCutOuts)]
        if photos and rng.random() < _WHOLE_PHOTO_RATE:
            return self._whole_photo(rng, photos[int(rng.integers(len(photos)))], shape)
        height, width = shape
        side = max(shape)
        frame = self._backdrops.crop(rng, side)[:height, :width].copy()
        if rng.random() < _DECOY_RATE:
            for _ in range(1 + int(rng.integers(_MAX_DECOYS))):
                _add_decoy(rng, frame, self._backdrops.crop(rng, side)[:height, :width])
        people: list[tuple[npt.NDArray[np.bool_], Floats]] = []
        count = 0 if rng.random() < _EMPTY_RATE else 1 + int(rng.choice(4, p=[0.5, 0.25, 0.15, 0.1]))
        heights = np.sort(np.exp(rng.uniform(math.log(0.12), math.log(1.15), count))) * min(shape) * 1.1
        for target in heights:  # small first: what is nearer covers what is farther
            cut = self._sources.draw(rng).sample(rng)
            frame, mask, box = _pasted(rng, frame, cut.rgba, float(target))
            for other, _ in people:
                other &= ~mask
            people.append((mask, box))
        boxes = [visible for mask, box in people if (visible := _visible_box(mask, box)) is not None]
        return damage(rng, frame), np.array(boxes, np.float32).reshape(-1, 4)

    def _whole_photo(
        self, rng: np.random.Generator, photos: PhotoCutOuts, shape: tuple[int, int]
    ) -> tuple[Image, Floats]:
        """A photo with its own surroundings, on a backdrop or on the gray of letterboxed frames."""
        image, box = photos.whole(rng)
        height, width = shape
        fit = min(width / image.shape[1], height / image.shape[0])
        scale = fit * math.exp(rng.uniform(math.log(0.35), math.log(1.3)))
        room = np.array([width - image.shape[1] * scale, height - image.shape[0] * scale])
        corner = rng.uniform(np.minimum(room, 0), np.maximum(room, 0))
        if rng.random() < 0.5:
            image = np.asarray(cv2.flip(image, 1), np.uint8)
            box = np.array([image.shape[1] - box[2], box[1], image.shape[1] - box[0], box[3]], np.float32)
        frame = self._backdrops.crop(rng, max(shape))[:height, :width].copy()
        if rng.random() < 0.5:
            frame[:] = 114
        place = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        frame = over(
            np.asarray(cv2.warpAffine(opaque, place, (width, height), flags=method), np.uint8), frame
        )
        placed = box * scale + np.tile(corner, 2)
        seen = np.clip(placed, 0, [width, height, width, height]).astype(np.float32)
        return damage(rng, frame), seen[None][visible_enough(seen[None], placed[None])]


def _add_decoy(rng: np.random.Generator, frame: Image, filler: Image) -> None:
    """Paint a blob or post, about as large as people are and of other colours than the frame, in place."""
    height, width = frame.shape[:2]
    longer = math.exp(rng.uniform(math.log(0.1), math.log(0.9))) * height
    axes = longer / 2, longer / 2 * rng.uniform(0.15, 0.9)
    center = rng.uniform(0, width), rng.uniform(0, height)
    box = (center, (2 * axes[1], 2 * axes[0]), float(rng.normal(0, 20)))
    mask = blob(rng, (height, width), box)
    if rng.random() < 0.3:
        filler = np.full_like(filler, rng.integers(0, 256, 3))
    cv2.copyTo(filler, mask, frame)


def _pasted(
    rng: np.random.Generator, frame: Image, rgba: Image, longer_px: float
) -> tuple[Image, npt.NDArray[np.bool_], Floats]:
    """The frame with a person in it, the person's mask, and the box, which may leave the frame."""
    height, width = frame.shape[:2]
    scale = longer_px / max(rgba.shape[:2])
    size = np.array([rgba.shape[1], rgba.shape[0]]) * scale
    reach = 0.25 * size if rng.random() < 0.3 else 0.02 * size
    room = np.array([width, height]) - size
    corner = rng.uniform(np.minimum(-reach, room - 0.0), np.maximum(room + reach, 0.0))
    if rng.random() < 0.5:
        rgba = np.asarray(cv2.flip(rgba, 1), np.uint8)
    place = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    placed = np.asarray(cv2.warpAffine(rgba, place, (width, height), flags=method), np.uint8)
    box = np.array([*corner, *(corner + size)], np.float32)
    return over(placed, frame), placed[..., 3] > 127, box


def _visible_box(mask: npt.NDArray[np.bool_], box: Floats) -> Floats | None:
    """The box cut to the frame; None where too little of the person is to be seen."""
    height, width = mask.shape
    clipped = np.clip(box, 0, [width, height, width, height]).astype(np.float32)
    if (clipped[2:] - clipped[:2]).max() < MIN_SIDE_PX:
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    share = float(np.prod(seen[2:] - seen[:2]) / max(np.prod(box[2:] - box[:2]), 1.0))
    return seen if share >= MIN_VISIBLE else None


def _tight(rgba: Image) -> CutOut:
    solid = rgba[..., 3] > 127
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not len(rows):
        return CutOut(rgba)
    return CutOut(rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
