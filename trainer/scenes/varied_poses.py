"""Poses of motion capture, an equal amount of motion apart, with limbs exchanged between them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.trainer.data.motion.augment import LIMB_GROUPS
from kinestream.trainer.data.motion.clip import mirror_rotations
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.data.motion.poses import thin_by_arc_length
from kinestream.trainer.scenes.poses import with_hands

THINNING_RAD = 0.05
"""Root mean square over joints of the motion between two kept frames."""

_LIMBS = tuple(tuple(JOINT_NAMES.index(name) for name in group) for group in LIMB_GROUPS)


class VariedPoses:
    """Single poses for people in pictures, where unusual combinations matter more than frequent ones.

    Standing still does not outweigh a dance, since frames are thinned by arc length; each limb group is
    taken from another pose with probability ``exchange_share``.
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
        """Thinned poses of a split of a mocap cache (`kinestream.trainer.prepare.mocap` makes it)."""
        clips = list(MocapCache.load(cache_path).clips(split))
        parts = [clip.rotations[thin_by_arc_length(clip, THINNING_RAD)].astype(np.float32) for clip in clips]
        return cls(np.concatenate(parts), exchange_share=exchange_share)

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
