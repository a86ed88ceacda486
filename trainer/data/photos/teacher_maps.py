"""Where a larger network sees the keypoints of photos: its heat maps, for every crop of a smaller network.

One npz for any number of photo sets with ``files`` (N: set/file), ``matrix`` (N, 2, 3: pixels of the photo
-> pixels of the teacher's crop), ``crop_px``, ``maps`` (N, K, h, w) uint8, each scaled to its peak, and
``weight`` (N, K) 0..1, the teacher's confidence; `kinestream.trainer.prepare.teach_keypoints` writes it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import MIRROR_KEYPOINTS
from kinestream.trainer.data.photos.pseudo import PseudoLabels

Floats = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

STRIDE = 4
"""Crop pixels per cell of a heat map, of teacher and student alike."""
TEACHER_STD_CELLS = 1.25
"""Width of a teacher's peak in its own cells, and of the targets in the student's."""
AGREEMENT = 0.06
"""Labels further from the peak of a sure teacher than this share of its crop are dropped."""
SURE = 0.5
_MIN_INSIDE = 0.5
"""A keypoint of which less of the map lies within the crop is not taught."""
_KEYS = ("files", "matrix", "crop_px", "maps", "weight")


@dataclass(frozen=True, eq=False)
class TeacherMaps:
    """See the module's text."""

    files: tuple[str, ...]
    matrix: FloatArray  # (N, 2, 3)
    crop_px: int
    maps: npt.NDArray[np.uint8]  # (N, K, h, w)
    weight: Floats  # (N, K)

    @classmethod
    def load(cls, path: Path) -> "TeacherMaps":
        """Read a file of maps; ``ValueError`` when it is something else."""
        with np.load(path, allow_pickle=False) as content:
            missing = [key for key in _KEYS if key not in content.files]
            if missing:
                raise ValueError(
                    f"{path}: not a file of heat maps, keys {missing} are missing; see docs/training.md"
                )
            files, matrix, crop_px, maps, weight = (content[key] for key in _KEYS)
        return cls(tuple(files.tolist()), matrix, int(crop_px), maps, weight)

    def save(self, path: Path) -> None:
        """Write the file."""
        values = (np.array(self.files, str), self.matrix, np.int64(self.crop_px), self.maps, self.weight)
        np.savez_compressed(path, **dict(zip(_KEYS, values, strict=True)))

    def confirmed(self, labels: PseudoLabels, name: str) -> tuple[PseudoLabels, list[int]]:
        """Labels of set ``name`` without those the teacher sees elsewhere, and its row of each (or -1)."""
        row_of = {file: row for row, file in enumerate(self.files)}
        rows = [row_of.get(f"{name}/{file}", -1) for file in labels.files]
        keypoints = labels.keypoints.copy()
        for own, row in zip(keypoints, rows, strict=True):
            if row >= 0:
                own[self.disagreeing(row, own), 2] = 0.0
        return replace(labels, keypoints=keypoints), rows

    def disagreeing(self, row: int, keypoints: Floats) -> npt.NDArray[np.bool_]:
        """Which labels (K, 3: pixels of photo ``row`` and weight) the teacher surely sees elsewhere."""
        cells = self.maps.shape[-1]
        peak = self.maps[row].reshape(len(keypoints), -1).argmax(1)
        seen = (np.stack([peak % cells, peak // cells], 1) + 0.5) * STRIDE - 0.5
        linear, offset = self.matrix[row][:, :2], self.matrix[row][:, 2]
        distance = np.linalg.norm(keypoints[:, :2] @ linear.T + offset - seen, axis=1)
        elsewhere = distance > AGREEMENT * self.crop_px
        return np.asarray(elsewhere & (self.weight[row] >= SURE) & (keypoints[:, 2] > 0))

    def in_crop(
        self, row: int, matrix: FloatArray, crop_px: int, *, mirrored_width: int | None = None
    ) -> Floats:
        """Targets (K, S/4, S/4) of a crop of photo ``row``: each sums to its weight, or to 0: not taught.

        Args:
            row: of the photo.
            matrix: (2, 3) pixels of the photo (of its mirror image) -> pixels of the crop.
            crop_px: side S of the crop.
            mirrored_width: width of the photo, if the crop is one of its mirror image.

        """
        to_student = np.concatenate([matrix, [[0.0, 0.0, 1.0]]])
        maps, weight = self.maps[row], self.weight[row]
        if mirrored_width is not None:
            to_student = to_student @ [[-1.0, 0.0, mirrored_width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
            maps, weight = maps[list(MIRROR_KEYPOINTS)], weight[list(MIRROR_KEYPOINTS)]
        to_teacher = np.concatenate([self.matrix[row], [[0.0, 0.0, 1.0]]])
        between = to_cells() @ to_teacher @ np.linalg.inv(to_student) @ np.linalg.inv(to_cells())
        side, shares = crop_px // STRIDE, maps.transpose(1, 2, 0).astype(np.float32)
        total = shares.sum((0, 1))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(shares, between[:2], (side, side), flags=flags)
        scale = float(np.sqrt(abs(np.linalg.det(between[:2, :2]))))  # teacher's cells a student's cell
        narrow = 1 - 1 / scale**2
        if narrow > 0:
            seen = cv2.GaussianBlur(seen, (0, 0), TEACHER_STD_CELLS * float(np.sqrt(narrow)))
        mass = np.asarray(seen).sum((0, 1))
        inside = mass * scale**2 / np.maximum(total, 1e-9)
        factor = np.where(inside >= _MIN_INSIDE, weight / np.maximum(mass, 1e-9), 0.0)
        return np.ascontiguousarray((seen * factor.astype(np.float32)).transpose(2, 0, 1))


def to_cells() -> FloatArray:
    """Pixels of a crop (3, 3, homogeneous) -> cells of its heat map."""
    shift = 0.5 / STRIDE - 0.5
    return np.array([[1 / STRIDE, 0.0, shift], [0.0, 1 / STRIDE, shift], [0.0, 0.0, 1.0]])
