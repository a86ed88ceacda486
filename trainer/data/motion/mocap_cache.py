"""One compact file for all motion: 16-bit quaternions and float32 translations (npz).

    cache = MocapCache.load(path)
    for clip in cache.clips(split="train"):
        clip.rotations, clip.root_translation_m, clip.fps, clip.split, clip.name

Quantisation costs at most 1e-4 rad. Keys: `quat_wxyz` (F, 22, 4) int16, `root_translation_m` (F, 3) float32,
and per clip `first` and `length` (int64), `fps` (float64), `name`, `split`, `source` (unicode), `version`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kinestream.geometry.rotation import matrix_from_quat, quat_from_matrix
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, MotionClip
from kinestream.trainer.data.motion.source import FloatArray

CACHE_VERSION = 1
_SCALE = 32767.0
_KEYS = ("quat_wxyz", "root_translation_m", "first", "length", "fps", "name", "split", "source")


class MocapCache:
    """Random access to the clips of a cache file; rotations are decoded when a clip is asked for."""

    def __init__(self, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> None:
        self._arrays = arrays

    @classmethod
    def load(cls, path: Path) -> "MocapCache":
        """Read a cache file; `ValueError` names a missing key or a foreign version."""
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(
                f"no mocap cache at {path}; make one with `python -m kinestream.trainer.prepare.mocap`"
            )
        with np.load(path, allow_pickle=False) as content:
            missing = [key for key in (*_KEYS, "version") if key not in content.files]
            if missing:
                raise ValueError(f"{path}: not a mocap cache, keys {missing} are missing")
            if int(content["version"]) != CACHE_VERSION:
                found = int(content["version"])
                raise ValueError(f"{path}: cache version {found}, expected {CACHE_VERSION}; build it again")
            return cls({key: content[key] for key in _KEYS})

    @classmethod
    def from_clips(cls, clips: Iterable[MotionClip]) -> "MocapCache":
        """Pack clips; their order is kept."""
        clips = list(clips)
        if not clips:
            raise ValueError("a mocap cache needs at least one clip")
        lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
        quats = [
            np.round(quat_from_matrix(np.asarray(c.rotations, dtype=np.float64)) * _SCALE).astype(np.int16)
            for c in clips
        ]
        return cls(
            {
                "quat_wxyz": np.concatenate(quats),
                "root_translation_m": np.concatenate([c.root_translation_m for c in clips]).astype(
                    np.float32
                ),
                "first": np.cumsum(lengths) - lengths,
                "length": lengths,
                "fps": np.array([clip.fps for clip in clips], dtype=np.float64),
                "name": np.array([clip.name for clip in clips]),
                "split": np.array([clip.split for clip in clips]),
                "source": np.array([clip.source for clip in clips]),
            }
        )

    def save(self, path: Path) -> None:
        """Write the file (compressed), making its folder when needed."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("wb") as file:
            np.savez_compressed(file, version=np.array(CACHE_VERSION), **self._arrays)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._arrays["length"])

    @property
    def num_frames(self) -> int:
        """Frames of all clips."""
        return len(self._arrays["root_translation_m"])

    def clip(self, index: int) -> MotionClip:
        """Clip by its index; rotations as float32."""
        arrays = self._arrays
        frames = slice(
            int(arrays["first"][index]), int(arrays["first"][index]) + int(arrays["length"][index])
        )
        quat = arrays["quat_wxyz"][frames].astype(np.float32)
        translation: FloatArray = arrays["root_translation_m"][frames].astype(np.float64)
        return MotionClip(
            name=str(arrays["name"][index]),
            rotations=matrix_from_quat(quat).reshape(-1, NUM_BODY_JOINTS, 3, 3),
            root_translation_m=translation,
            fps=float(arrays["fps"][index]),
            split=str(arrays["split"][index]),
            source=str(arrays["source"][index]),
        )

    def clips(self, split: str | None = None) -> Iterator[MotionClip]:
        """All clips, or those of one split ("train" or "val")."""
        for index in range(len(self)):
            if split is None or str(self._arrays["split"][index]) == split:
                yield self.clip(index)
