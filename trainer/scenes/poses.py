"""Where poses and motions come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import NUM_JOINTS
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, MotionClip, mirror_rotations
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.weighted import Weighted

_Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Motion:
    """Frames of one person in a world with y up and the floor near y = 0.

    rotations (T, 24, 3, 3): [:, 0] world from pelvis, the rest relative to the parent joint.
    root_translation_m (T, 3): pelvis.
    """

    rotations: npt.NDArray[np.float64]
    root_translation_m: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.root_translation_m)


class PoseSource(Protocol):
    """Anything that gives single poses; a prior that can be sampled is one."""

    def pose(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Rotations (24, 3, 3) of one pose; [0] is world (y up) from pelvis."""
        ...


@runtime_checkable
class MotionSource(PoseSource, Protocol):
    """A source of poses that also knows how they follow each other."""

    def motion(self, rng: np.random.Generator, *, frames: int, fps: float) -> Motion:
        """`frames` frames of one continuous motion at `fps`."""
        ...


class ClipPoses:
    """Poses and motions out of motion-capture clips, every frame as likely, some of them mirrored."""

    def __init__(self, clips: list[MotionClip], *, mirror_share: float = 0.5) -> None:
        """Keep clips; raises ValueError where there is none."""
        if not clips:
            raise ValueError("a pose source needs at least one clip; found none (is the split right?)")
        self.clips, self.mirror_share = clips, mirror_share
        self._weights = np.array([clip.duration_s for clip in clips])
        self._weights /= self._weights.sum()

    @classmethod
    def load(cls, cache_path: Path, *, split: str | None = "train") -> "ClipPoses":
        """Clips of a split of a mocap cache file (`python -m kinestream.trainer.prepare.mocap` makes it)."""
        return cls(list(MocapCache.load(cache_path).clips(split)))

    def pose(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """A random frame of a random clip."""
        clip = self.clips[int(rng.choice(len(self.clips), p=self._weights))]
        rotations = np.asarray(clip.rotations[int(rng.integers(len(clip)))], np.float64)
        return with_hands(mirror_rotations(rotations) if rng.random() < self.mirror_share else rotations)

    def motion(self, rng: np.random.Generator, *, frames: int, fps: float) -> Motion:
        """A random stretch of a clip that is long enough, at the nearest frames."""
        lasting = [clip for clip in self.clips if len(clip) / clip.fps >= frames / fps]
        if not lasting:
            longest = max(clip.duration_s for clip in self.clips)
            raise ValueError(
                f"no clip lasts {frames} frames at {fps} fps ({frames / fps:.1f} s); "
                f"the longest lasts {longest:.1f} s"
            )
        clip = lasting[int(rng.integers(len(lasting)))]
        latest = len(clip) - (frames - 1) * clip.fps / fps - 1
        start = rng.uniform(0, max(latest, 0))
        index = np.minimum(np.round(start + np.arange(frames) * clip.fps / fps).astype(int), len(clip) - 1)
        chosen = MotionClip(
            clip.name, clip.rotations[index], clip.root_translation_m[index], fps, clip.split, clip.source
        )
        if rng.random() < self.mirror_share:
            chosen = chosen.mirrored()
        return Motion(
            with_hands(np.asarray(chosen.rotations, np.float64)),
            np.asarray(chosen.root_translation_m, np.float64),
        )


class MixedPoses:
    """Several sources, each with its share of the poses."""

    def __init__(self, sources: list[tuple[PoseSource, float]]) -> None:
        """Take pairs of a source and its weight."""
        self._sources = Weighted(sources)

    def pose(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """A pose of a random source."""
        return self._sources.draw(rng).pose(rng)


def with_hands(rotations: _Array) -> npt.NDArray[np.float64]:
    """Rotations (..., 22, 3, 3) with resting hands added, (..., 24, 3, 3)."""
    hands = np.broadcast_to(np.eye(3), (*rotations.shape[:-3], NUM_JOINTS - NUM_BODY_JOINTS, 3, 3))
    return np.concatenate([rotations, hands], axis=-3)
