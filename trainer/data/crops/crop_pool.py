"""Rendered people kept on disk without a background, recombined with new backgrounds at every draw.

A pool is a folder of memory-mapped .npy files for N crops of side S: ``rgba`` (N, S, S, 4) uint8, colour
already multiplied by coverage; ``parts`` (N, S/2, S/2) uint8, 0 background, part + 1; ``keypoints`` (N, 23,
3) pixels and 1; ``rotations`` (N, 22, 3, 3), root in the camera frame; ``translation_m`` (N, 3); ``betas``
(N, 10); ``camera`` (N, 4) fx, fy, cx, cy in pixels of the crop.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.mirror import mirror_rotations
from kinestream.body.skeleton import MIRROR_KEYPOINTS, MIRROR_PARTS, NUM_BETAS, NUM_KEYPOINTS
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_sample import (
    PART_STRIDE,
    PART_UNKNOWN,
    CropSample,
    body_in_crop,
    empty_keypoints,
)
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS
from kinestream.trainer.data.photos.image_augment import (
    add_decoys,
    damage,
    map_matrix,
    occlude,
    patterned,
    random_similarity,
    shuffled,
    warp,
)
from kinestream.trainer.data.photos.photos import crop_keypoints

FIELDS: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
    "keypoints": ((NUM_KEYPOINTS, 3), np.float32),
    "rotations": ((NUM_BODY_JOINTS, 3, 3), np.float32),
    "translation_m": ((3,), np.float32),
    "betas": ((NUM_BETAS,), np.float32),
    "camera": ((4,), np.float32),
}
_MIRROR_LABELS = np.array([0] + [part + 1 for part in MIRROR_PARTS], np.uint8)
_NEIGHBOUR_RATE = 0.1
_OCCLUSION_RATE = 0.2
_PATTERN_RATE = 0.25
_SHUFFLED_SHARE = 0.25
_DECOY_SHARE = 0.4


def create_pool(folder: Path, count: int, side_px: int) -> dict[str, npt.NDArray[np.generic]]:
    """Make an empty pool and return its arrays, to be filled row by row."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layout = dict(FIELDS)
    layout["rgba"] = ((side_px, side_px, 4), np.uint8)
    layout["parts"] = ((side_px // 2, side_px // 2), np.uint8)
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(kind), (count, *shape))
        for name, (shape, kind) in layout.items()
    }


class CropPool:
    """Random crops of the people of a pool on random backgrounds, with exact bodies.

    ``any_turn`` is the share of crops whose picture is turned by any angle, so that up is not always up. With
    ``spoiled`` some wear patterns, are covered in part, stand before others, and pictures are damaged.
    """

    def __init__(
        self,
        folder: Path,
        backdrops: Backdrops,
        *,
        crop_px: int,
        any_turn: float = 0.05,
        spoiled: bool = True,
    ) -> None:
        folder = Path(folder)
        missing = [name for name in ("rgba", "parts", *FIELDS) if not (folder / f"{name}.npy").exists()]
        if missing:
            raise FileNotFoundError(f"{folder} is not a crop pool: {', '.join(missing)} missing (.npy)")
        self._rgba = np.load(folder / "rgba.npy", mmap_mode="r")
        self._parts = np.load(folder / "parts.npy", mmap_mode="r")
        self._fields = {name: np.load(folder / f"{name}.npy") for name in FIELDS}
        self._backdrops, self._crop_px, self._any_turn = backdrops, crop_px, any_turn
        self._spoiled = spoiled

    def __len__(self) -> int:
        return len(self._rgba)

    def sample(self, rng: np.random.Generator) -> CropSample:
        """Draw one person, one crop, one background."""
        return self.crop(int(rng.integers(len(self))), rng)

    def crop(self, row: int, rng: np.random.Generator) -> CropSample:
        """One crop of person ``row``."""
        rgba, parts = np.asarray(self._rgba[row]), np.asarray(self._parts[row])
        label = {name: values[row] for name, values in self._fields.items()}
        if rng.random() < 0.5:
            rgba, parts, label = _mirrored(rgba, parts, label)
        if self._spoiled and rng.random() < _PATTERN_RATE:
            rgba = patterned(rng, rgba, parts)
        keypoints = label["keypoints"]
        matrix = random_similarity(
            rng, keypoints[:, :2], crop_px=self._crop_px, truncate=0.1, any_turn=self._any_turn
        )
        image = self._composed(rng, warp(rgba, matrix, self._crop_px))
        map_px = self._crop_px // PART_STRIDE
        to_map = map_matrix(matrix, picture_scale=rgba.shape[0] / parts.shape[0], stride=PART_STRIDE)
        labels = cv2.warpAffine(
            parts, to_map, (map_px, map_px), flags=cv2.INTER_NEAREST, borderValue=(PART_UNKNOWN,)
        )
        parts_map = np.array(labels, np.uint8)
        if self._spoiled and rng.random() < _OCCLUSION_RATE:
            covered = occlude(rng, image, self._backdrops.crop(rng, self._crop_px)).astype(np.uint8)
            covered = np.asarray(
                cv2.resize(covered, (map_px, map_px), interpolation=cv2.INTER_NEAREST), np.uint8
            )
            parts_map[covered > 0] = 0
        points, known = crop_keypoints(keypoints, matrix, self._crop_px, rgba.shape[1::-1])
        state = {name: label[name] for name in ("camera", "rotations", "translation_m", "betas")}
        body = body_in_crop(matrix, self._crop_px, **state)
        image = damage(rng, image) if self._spoiled else image
        return CropSample(image, points, known, parts_map, body=body)

    def _composed(self, rng: np.random.Generator, rgba: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """On a random background, sometimes with somebody else behind."""
        image = self._backdrops.crop(rng, self._crop_px)
        if self._spoiled and rng.random() < _NEIGHBOUR_RATE:
            other = np.asarray(self._rgba[int(rng.integers(len(self)))])
            shift = rng.uniform(0.25, 0.6) * self._crop_px * rng.choice([-1, 1])
            scale = self._crop_px / other.shape[0] * rng.uniform(0.7, 1.3)
            place = np.array([[scale, 0, shift], [0, scale, rng.normal(0, 0.1) * self._crop_px]])
            image = over(warp(other, place, self._crop_px), image)
        return over(rgba, image)


class EmptyCrops:
    """Crops without a person, for presence: backgrounds, decoys on them, and people in shuffled pieces."""

    def __init__(self, backdrops: Backdrops, *, crop_px: int, people: CropPool | None = None) -> None:
        self._backdrops, self._crop_px, self._people = backdrops, crop_px, people

    def sample(self, rng: np.random.Generator) -> CropSample:
        """Draw one."""
        kind = rng.random()
        if self._people is not None and kind < _SHUFFLED_SHARE:
            image = shuffled(rng, self._people.sample(rng).image)
        else:
            image = self._backdrops.crop(rng, self._crop_px)
            if kind < _SHUFFLED_SHARE + _DECOY_SHARE:
                add_decoys(rng, image)
            image = damage(rng, image)
        side = self._crop_px // PART_STRIDE
        return CropSample(image, *empty_keypoints(), np.zeros((side, side), np.uint8), presence=False)


def over(rgba: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Premultiplied ``rgba`` (S, S, 4) in front of ``image`` (S, S, 3)."""
    remaining = cv2.cvtColor(255 - rgba[..., 3], cv2.COLOR_GRAY2RGB)
    behind = cv2.multiply(image, remaining, scale=1 / 255)
    return np.asarray(cv2.add(rgba[..., :3], behind), np.uint8)


def _mirrored(
    rgba: npt.NDArray[np.uint8], parts: npt.NDArray[np.uint8], label: dict[str, npt.NDArray[np.generic]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], dict[str, npt.NDArray[np.generic]]]:
    """The person as in a mirror."""
    last = rgba.shape[1] - 1
    keypoints = np.array(label["keypoints"], np.float32)[list(MIRROR_KEYPOINTS)]
    keypoints[:, 0] = last - keypoints[:, 0]
    camera = np.array(label["camera"], np.float32)
    camera[2] = last - camera[2]
    translation = np.array(label["translation_m"], np.float32) * np.array([-1, 1, 1], np.float32)
    flipped: dict[str, npt.NDArray[np.generic]] = {
        "keypoints": keypoints,
        "camera": camera,
        "translation_m": translation,
        "rotations": mirror_rotations(np.asarray(label["rotations"], np.float64)),
        "betas": label["betas"],
    }
    return np.asarray(cv2.flip(rgba, 1), np.uint8), _MIRROR_LABELS[parts[:, ::-1]], flipped
