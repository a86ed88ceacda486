"""Where poses and motions come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kinestream.body.mirror import mirror_rotations
from kinestream.body.skeleton import JOINT_NAMES, NUM_JOINTS
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.data.motion.augment import LIMB_GROUPS
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.variety import load_varied_poses
from kinestream.trainer.data.weighted import Weighted

THINNING_RAD = 0.05
"""Root mean square over joints of the motion between two kept frames."""

_LIMBS = tuple(tuple(JOINT_NAMES.index(name) for name in group) for group in LIMB_GROUPS)
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


class VariedPoses:
    """Single poses for people in pictures, where unusual combinations matter more than frequent ones.

    Standing still does not outweigh a dance, nor ten repetitions one, since frames are thinned by arc length
    and drawn by variety; each limb group is taken from another pose with probability ``exchange_share``.
    """

    def __init__(
        self, rotations: npt.NDArray[np.floating], *, exchange_share: float = 0.15, mirror_share: float = 0.5
    ) -> None:
        """Keep poses (N, 22, 3, 3); raises ValueError where there is none."""
        if not len(rotations):
            raise ValueError("a pose source needs at least one pose; found none (is the split right?)")
        self._rotations = rotations
        self._exchange_share, self._mirror_share = exchange_share, mirror_share

    @classmethod
    def load(
        cls, cache_path: Path, *, split: str | None = "train", exchange_share: float = 0.15
    ) -> "VariedPoses":
        """Varied poses of a split of a mocap cache (`kinestream.trainer.prepare.mocap` makes it)."""
        poses = load_varied_poses(cache_path, split, step_rad=THINNING_RAD)
        return cls(poses.numpy(), exchange_share=exchange_share)

    def pose(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Rotations (24, 3, 3) of a pose; [0] is world (y up) from pelvis."""
        pose = self._draw(rng)
        for joints in _LIMBS:
            if rng.random() < self._exchange_share:
                pose[list(joints)] = self._draw(rng)[list(joints)]
        return with_hands(pose)

    def _draw(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        pose = np.array(self._rotations[int(rng.integers(len(self._rotations)))], np.float64)
        return mirror_rotations(pose) if rng.random() < self._mirror_share else pose


class FlowPoses:
    """Samples of the pose flow; the root, on which it is silent, is that of a pose of another source."""

    def __init__(self, flow: PoseFlow, roots: PoseSource, *, temperature: float = 1.1) -> None:
        """Take a flow, a source of root rotations, and the factor on the latents' standard deviation.

        Raises ValueError for a temperature that is not positive.
        """
        if not temperature > 0:
            raise ValueError(f"temperature must be positive; found {temperature}")
        self._decoder, self._roots, self._temperature = FlowDecoder(flow), roots, temperature

    def pose(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Rotations (24, 3, 3) of a sample; [0] is world (y up) from pelvis."""
        latent = self._temperature * rng.standard_normal(self._decoder.dim)
        body = self._decoder.decode(latent.astype(np.float32)).astype(np.float64)
        return with_hands(np.concatenate([self._roots.pose(rng)[:1], body]))


class MixedPoses(Weighted[PoseSource]):
    """Several sources, each with its share of the poses."""

    def pose(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """A pose of a random source."""
        return self.draw(rng).pose(rng)


def with_hands(rotations: _Array) -> npt.NDArray[np.float64]:
    """Rotations (..., 22, 3, 3) with resting hands added, (..., 24, 3, 3)."""
    hands = np.broadcast_to(np.eye(3), (*rotations.shape[:-3], NUM_JOINTS - NUM_BODY_JOINTS, 3, 3))
    return np.concatenate([rotations, hands], axis=-3)
