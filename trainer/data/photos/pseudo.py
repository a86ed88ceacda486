"""Machine labels of people in photos: MediaPipe landmarks and silhouettes, mapped onto our keypoints.

One npz per photo set with ``files``, ``size`` (N, 2), ``detected``, ``image`` (N, 33, 4: x, y, z,
visibility in pixels of the photo), ``mask`` (N, 512: 64 x 64 bits) and ``flip_err`` (N: disagreement with the
mirrored picture, in torso lengths), as ``tools/teacher/pseudo_label.py`` writes it; ``parts`` (N, 64, 64:
labels of a part map) where ``tools/teacher/agree.py`` added them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS

Floats = npt.NDArray[np.float32]

LANDMARK_OF_KEYPOINT = {
    "nose": 0,
    "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8,
    "left_shoulder": 11, "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14,
    "left_wrist": 15, "right_wrist": 16, "left_hip": 23, "right_hip": 24,
    "left_knee": 25, "right_knee": 26, "left_ankle": 27, "right_ankle": 28,
    "left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32,
}  # fmt: skip
"""MediaPipe's landmark for each keypoint that it has; small toes are missing."""

HIP_WEIGHT = 0.4
"""MediaPipe's hips lie elsewhere than the body's (lower, and closer together), so they count less."""

MIN_VISIBILITY = 0.5
MAX_FLIP_ERROR = 0.3
_KEYS = ("files", "size", "detected", "image", "mask", "flip_err")


@dataclass(frozen=True)
class PseudoLabels:
    """Labels of N photos, only of those with a person."""

    files: tuple[str, ...]  # N file names
    keypoints: Floats  # (N, 23, 3) pixels of the photo and weight 0..1
    masks: npt.NDArray[np.bool_]  # (N, 64, 64) bool silhouettes, stretched over the whole photo
    parts: npt.NDArray[np.uint8] | None = None  # (N, 64, 64) part labels over the whole photo

    @classmethod
    def load(cls, path: Path, *, max_flip_error: float = MAX_FLIP_ERROR) -> "PseudoLabels":
        """Read a label file, leaving out photos whose mirror image disagrees by more than the limit."""
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(
                f"no machine labels at {path}; make them with tools/teacher/pseudo_label.py"
            )
        with np.load(path, allow_pickle=False) as content:
            missing = [key for key in _KEYS if key not in content.files]
            if missing:
                raise ValueError(f"{path}: not a label file, keys {missing} are missing")
            arrays = {key: content[key] for key in _KEYS}
            parts = content["parts"] if "parts" in content.files else None
        flip_error = arrays["flip_err"].astype(np.float32)
        chosen = np.flatnonzero(arrays["detected"] & (flip_error <= max_flip_error))
        confidence = np.clip(1.0 - flip_error[chosen] / (2 * max_flip_error), 0.0, 1.0)
        masks = np.unpackbits(arrays["mask"][chosen], axis=1).reshape(-1, 64, 64).astype(bool)
        keypoints = keypoints_from_landmarks(arrays["image"][chosen], confidence)
        files = tuple(arrays["files"][chosen].tolist())
        return cls(files, keypoints, masks, None if parts is None else parts[chosen])

    def __len__(self) -> int:
        return len(self.files)


def keypoints_from_landmarks(
    landmarks: npt.NDArray[np.floating], confidence: npt.NDArray[np.floating]
) -> Floats:
    """MediaPipe landmarks (N, 33, 4) and a confidence (N,) per photo -> keypoints with weights (N, 23, 3)."""
    keypoints = np.zeros((len(landmarks), NUM_KEYPOINTS, 3), np.float32)
    for name, landmark in LANDMARK_OF_KEYPOINT.items():
        row = KEYPOINT_NAMES.index(name)
        seen = landmarks[:, landmark].astype(np.float32)
        weight = np.where(seen[:, 3] >= MIN_VISIBILITY, seen[:, 3], 0.0) * confidence
        keypoints[:, row, :2] = seen[:, :2]
        keypoints[:, row, 2] = weight * (HIP_WEIGHT if name.endswith("hip") else 1.0)
    return keypoints
