"""Photos of people with machine labels as training crops (weak supervision: keypoints and silhouettes)."""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import MIRROR_KEYPOINTS, MIRROR_PARTS, NUM_PARTS
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_sample import (
    PART_PERSON,
    PART_STRIDE,
    PART_UNKNOWN,
    CropSample,
    Floats,
)
from kinestream.trainer.data.photos.image_augment import damage, map_matrix, occlude, random_similarity, warp
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.data.photos.teacher_maps import TeacherMaps

FREE_PHOTO_SETS = ("gym_exercises", "home_fall_video")
"""The sets whose licence (Unlicense, MIT) allows what is made from them to be used freely."""

VAL_SHARE = 0.1
_MIN_LABELS = 6
_MIRROR_LABELS = np.arange(256, dtype=np.uint8)
_MIRROR_LABELS[1 : 1 + NUM_PARTS] = 1 + np.array(MIRROR_PARTS)


class PhotoCrops:
    """Random crops of one photo set; photos are kept in memory as packed JPEG."""

    def __init__(
        self,
        folder: Path,
        labels: PseudoLabels,
        *,
        crop_px: int,
        backdrops: Backdrops | None = None,
        split: Literal["train", "val", "all"] = "train",
        teacher: TeacherMaps | None = None,
    ) -> None:
        """Take the photos of ``folder`` named by ``labels``; the last tenth, by name, validates."""
        enough = (labels.keypoints[..., 2] > 0).sum(1) >= _MIN_LABELS
        rows = np.flatnonzero(enough)
        first_val = int(len(rows) * (1 - VAL_SHARE))
        rows = {"train": rows[:first_val], "val": rows[first_val:], "all": rows}[split]
        self._teacher, self._taught = teacher, [-1] * len(rows)
        if teacher is not None:
            labels, taught = teacher.confirmed(labels, Path(folder).name)
            rows = rows[(labels.keypoints[rows, :, 2] > 0).sum(1) >= _MIN_LABELS]
            self._taught = [taught[row] for row in rows]
        if not len(rows):
            raise ValueError(f"{folder}: no photo with at least {_MIN_LABELS} labels in split {split!r}")
        self._packed = [packed_image(Path(folder) / labels.files[row]) for row in rows]
        self._keypoints, self._masks = labels.keypoints[rows], labels.masks[rows]
        self._parts = None if labels.parts is None else labels.parts[rows]
        self._crop_px, self._backdrops = crop_px, backdrops

    @classmethod
    def load(
        cls,
        data: Path,
        name: str,
        *,
        crop_px: int,
        backdrops: Backdrops | None = None,
        split: Literal["train", "val", "all"] = "train",
        teacher: TeacherMaps | None = None,
    ) -> "PhotoCrops":
        """The set ``name`` of a data folder with ``images/<name>/`` and ``pseudo/<name>.npz``."""
        labels = PseudoLabels.load(data / "pseudo" / f"{name}.npz")
        folder = data / "images" / name
        return cls(folder, labels, crop_px=crop_px, backdrops=backdrops, split=split, teacher=teacher)

    def __len__(self) -> int:
        return len(self._packed)

    def sample(self, rng: np.random.Generator) -> CropSample:
        """Draw one photo and one crop of it."""
        row = int(rng.integers(len(self)))
        image = decode(self._packed[row])
        keypoints, mask = self._keypoints[row].copy(), self._masks[row]
        limbs = None if self._parts is None else self._parts[row]
        mirror = rng.random() < 0.5
        if mirror:
            image, keypoints, mask = mirrored(image, keypoints, mask)
            limbs = None if limbs is None else _MIRROR_LABELS[limbs[:, ::-1]]
        labelled = keypoints[:, 2] > 0
        matrix = random_similarity(rng, keypoints[labelled, :2], crop_px=self._crop_px, any_turn=0.5)
        size = (image.shape[1], image.shape[0])
        stretch = np.array([[size[0] / 64, 0, size[0] / 128 - 0.5], [0, size[1] / 64, size[1] / 128 - 0.5]])
        alpha = mask.astype(np.uint8) * 255
        crop = warp(image, matrix, self._crop_px, border=None if rng.random() < 0.5 else 0)
        parts = self._part_map(alpha, limbs, _chained(matrix, stretch))
        if self._backdrops is not None:
            backdrop = self._backdrops.crop(rng, self._crop_px)
            if rng.random() < 0.3:
                crop = blend(crop, backdrop, warp(alpha, _chained(matrix, stretch), self._crop_px))
            if rng.random() < 0.2:
                covered = occlude(rng, crop, backdrop)
                parts[covered[PART_STRIDE // 2 :: PART_STRIDE, PART_STRIDE // 2 :: PART_STRIDE]] = 0
        taught, seen = None, self._taught[row]
        if self._teacher is not None and seen >= 0:
            width = size[0] if mirror else None
            taught = self._teacher.in_crop(seen, matrix, self._crop_px, mirrored_width=width)
        points, known = crop_keypoints(keypoints, matrix, self._crop_px, size)
        return CropSample(damage(rng, crop), points, known, parts, taught=taught)

    def _part_map(
        self,
        alpha: npt.NDArray[np.uint8],
        limbs: npt.NDArray[np.uint8] | None,
        matrix: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.uint8]:
        """Background, and person or its parts where the silhouette is sure; outside of the photo nothing."""
        side = self._crop_px // PART_STRIDE
        to_map = map_matrix(matrix, stride=PART_STRIDE)
        sure = cv2.warpAffine(alpha, to_map, (side, side), flags=cv2.INTER_LINEAR, borderValue=(128,))
        parts = np.full((side, side), PART_UNKNOWN, np.uint8)
        parts[np.asarray(sure) < 40] = 0
        person = np.asarray(sure) > 215
        parts[person] = PART_PERSON
        if limbs is not None:
            nearest = cv2.warpAffine(limbs, to_map, (side, side), flags=cv2.INTER_NEAREST)
            known = person & (nearest > 0) & (nearest <= NUM_PARTS)
            parts[known] = np.asarray(nearest)[known]
        return parts


def crop_keypoints(
    keypoints: Floats, matrix: npt.NDArray[np.float64], crop_px: int, size: tuple[int, int]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Keypoints (23, 3) of a picture -> crop coordinates (-1..1) with weights, and which are known.

    Labels outside of the picture (its ``size`` is width, height) or of the crop get weight 0 but stay known:
    there is nothing to be seen of them.
    """
    result = keypoints.copy()
    outside = ((keypoints[:, :2] < -0.5) | (keypoints[:, :2] > np.array(size) - 0.5)).any(1)
    pixels = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    result[:, :2] = (pixels + 0.5) * (2.0 / crop_px) - 1.0
    known = keypoints[:, 2] > 0
    result[outside | (np.abs(result[:, :2]) >= 1).any(1), 2] = 0.0
    return result, known


def mirrored(
    image: npt.NDArray[np.uint8], keypoints: Floats, mask: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint8], Floats, npt.NDArray[np.bool_]]:
    """The picture as in a mirror, with left and right of the labels exchanged."""
    flipped = keypoints[list(MIRROR_KEYPOINTS)].copy()
    flipped[:, 0] = image.shape[1] - 1 - flipped[:, 0]
    return np.asarray(cv2.flip(image, 1), np.uint8), flipped, mask[:, ::-1]


def blend(
    image: npt.NDArray[np.uint8], backdrop: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """``image`` where alpha is 255, ``backdrop`` where it is 0."""
    share = alpha[..., None].astype(np.float32) / 255
    mixed = image * share + backdrop * (1 - share)
    return mixed.astype(np.uint8)


def _chained(second: npt.NDArray[np.float64], first: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The affine map (2, 3) that does ``first``, then ``second``."""
    chained: npt.NDArray[np.float64] = second @ np.concatenate([first, [[0, 0, 1]]])
    return chained
