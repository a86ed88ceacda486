"""A motion filter whose estimates agree with the keypoints: the measurement update before and after it.

Each observation is updated by its own keypoints before the filter takes it in, so that what is filtered
agrees with the picture. A filter that smooths then lags behind: its estimate is updated once more, gently,
and what that changed (the correction) is added to every prediction until the next observation, fading with
time.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from kinestream.filtering.base import KeypointEvidence, PersonState, PoseFilter
from kinestream.filtering.error_state import difference, mean_of, move
from kinestream.filtering.keypoint_update import KeypointUpdate, Tangents
from kinestream.kernels.array_types import Float32Array

GENTLE = 0.25
"""Factor of the filter's standard deviations in the second update.

Smaller ones leave the body beside the picture, larger ones bring back the jitter that was filtered."""
SHAPE_HELD = 0.02
"""The same of the shape, which is an average over time and does not follow single pictures."""
FADE_S = 0.3
"""Time in which a correction loses two thirds of its size without an observation."""


class KeypointFilter(PoseFilter):
    """Any filter, with the measurement update by keypoints around it."""

    name = "keypoints"

    def __init__(self, motion: PoseFilter, update: KeypointUpdate) -> None:
        """Take the filter of one track, and an update that tracks may share."""
        self.motion = motion
        self._update = update
        self._correction: Float32Array | None = None
        self._tangents: tuple[Tangents | None, Tangents | None] = (None, None)  # of the two updates
        self._t_ns = 0
        self._share: Float32Array | None = None

    def reset(self) -> None:
        """Forget the person."""
        self.motion.reset()
        self._correction = self._share = None

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Take in what was seen without keypoints."""
        self._correction = self._share = None
        return self.motion.update(t_ns, observed)

    def observe(self, t_ns: int, observed: PersonState, evidence: KeypointEvidence) -> PersonState:
        """Take in what was seen at ``t_ns`` with its keypoints."""
        seen = self._update(observed, evidence, tangents=self._tangents[0])
        estimate = self.motion.update(t_ns, seen.state)
        self._correction, self._t_ns, self._share = None, t_ns, seen.state.joint_std_share
        if seen.tangents is None or np.array_equal(estimate.z, seen.state.z):
            return estimate  # nothing was seen, or nothing was filtered
        corrected = self._update(
            estimate,
            evidence,
            prior_scale=GENTLE,
            shape_scale=SHAPE_HELD,
            tangents=self._tangents[1],
            deviations=False,
        )
        self._tangents = seen.tangents, corrected.tangents
        self._correction = difference(mean_of(corrected.state), mean_of(estimate))
        return self.predict(t_ns)

    def predict(self, t_ns: int) -> PersonState:
        """The filter's estimate for ``t_ns`` with the last observation's correction."""
        estimate = self.motion.predict(t_ns)
        if self._correction is None:
            return estimate
        fade = math.exp(-max(0, t_ns - self._t_ns) / 1e9 / FADE_S)
        mean = move(mean_of(estimate), np.float32(fade) * self._correction)
        return replace(
            estimate,
            z=np.asarray(mean.z, np.float32),
            root_quat_wxyz=np.array(mean.root, np.float32),
            joint_std_share=None if self._share is None else 1 - np.float32(fade) * (1 - self._share),
            translation_m=np.asarray(mean.translation_m, np.float32),
        )

    def lost(self, t_ns: int) -> bool:
        """As the filter says."""
        return self.motion.lost(t_ns)
