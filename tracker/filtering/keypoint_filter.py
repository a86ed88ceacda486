"""A motion filter whose estimates agree with the keypoints: the measurement update before and after it.

Each observation is corrected by the temporal lifter, where there is one, and updated by its own keypoints
before the filter takes it in, so that what is filtered agrees with the picture. A smooth filter then lags
behind. What its estimate lacks, the correction, changes far more slowly than the person moves, so it is
followed as a state of its own: it wanders with time, fades without evidence, and each picture's keypoints
update it with the little uncertainty that it has gathered since the last. A low-pass takes out what is left
of the keypoints' noise. The correction is added to every estimate and forecast.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from kinestream.filtering.base import FilterAround, FilterFactory, KeypointEvidence, PersonState, PoseFilter
from kinestream.filtering.error_state import difference, mean_of, move
from kinestream.filtering.keypoint_update import KeypointUpdate, Tangents, Updated
from kinestream.filtering.one_euro import smoothing
from kinestream.filtering.temporal_lifter import LifterWeights, TemporalLifter
from kinestream.kernels.array_types import Float32Array

WANDER = 1.7
"""How fast the correction becomes uncertain: share of the filter's standard deviations per root of a second.

Smaller ones leave the body beside the picture, larger ones bring back the jitter that was filtered."""
CUTOFF_HZ = 5.0
"""Of the low-pass through which the correction goes before it is shown."""
FADE_S = 0.3
"""Time in which a correction loses two thirds of its size without evidence."""
CONTRARY_S = 0.2
"""So long the corrected estimate may take the keypoints' sides for exchanged where the observation does not.

A flip of a few pictures is over by then; a correction that has legs crossed would confirm itself for ever."""
SHAPE_HELD = 0.02
"""Factor of the shape's deviations after the filter: it is an average and does not follow single pictures."""


class KeypointFilter(FilterAround):
    """Any filter, with the measurement update by keypoints around it."""

    name = "keypoints"

    def __init__(
        self, motion: PoseFilter, update: KeypointUpdate, lifter: TemporalLifter | None = None
    ) -> None:
        """Take filter and temporal lifter of one track, and an update that tracks may share."""
        super().__init__(motion)
        self._lifter = lifter
        self._update = update
        self._found: Float32Array | None = None  # correction (N,) at `_t_ns`; None before there is one
        self._shown: Float32Array | None = None  # the same after the low-pass
        self._tangents: tuple[Tangents | None, Tangents | None] = (None, None)  # of the two updates
        self._share: Float32Array | None = None  # of the joints' deviations, that the keypoints left
        self._t_ns = 0
        self._contrary_ns: int | None = None  # since when sides are taken otherwise than in the observation

    def reset(self) -> None:
        """Forget the person."""
        self.motion.reset()
        if self._lifter is not None:
            self._lifter.reset()
        self._found = self._shown = self._share = self._contrary_ns = None
        self._tangents = None, None

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Take in what was seen without keypoints; the last correction fades."""
        self.motion.update(t_ns, observed)
        return self.predict(t_ns)

    def observe(self, t_ns: int, observed: PersonState, evidence: KeypointEvidence) -> PersonState:
        """Take in what was seen at ``t_ns`` with its keypoints."""
        if self._lifter is not None:
            observed = self._lifter.correct(t_ns, observed, evidence)
        seen = self._update(observed, evidence, tangents=self._tangents[0])
        estimate = self.motion.update(t_ns, seen.state)
        if np.array_equal(estimate.z, seen.state.z):  # begun, begun anew, or nothing is filtered
            self._found = self._shown = self._share = self._contrary_ns = None
            self._t_ns = t_ns
            return estimate
        step_s = (t_ns - self._t_ns) / 1e9
        if seen.tangents is None or step_s <= 0:
            return self.predict(t_ns)
        origin = mean_of(estimate)
        none = np.zeros(len(origin.z) + 6, np.float32)
        fade = self._fade(t_ns)
        found, shown = (none if old is None else np.float32(fade) * old for old in (self._found, self._shown))
        corrected = self._corrected(estimate, found, evidence, step_s)
        if corrected.swapped == seen.swapped:
            self._contrary_ns = None
        elif self._contrary_ns is None:
            self._contrary_ns = t_ns
        elif t_ns - self._contrary_ns > CONTRARY_S * 1e9:
            found = shown = none
            corrected = self._corrected(estimate, none, evidence, step_s, swapped=seen.swapped)
            self._contrary_ns = None
        self._tangents = seen.tangents, corrected.tangents
        self._share = seen.state.joint_std_share
        self._found = difference(mean_of(corrected.state), origin)
        self._shown = shown + np.float32(smoothing(CUTOFF_HZ, step_s)) * (self._found - shown)
        self._t_ns = t_ns
        return self.predict(t_ns)

    def _corrected(
        self,
        estimate: PersonState,
        found: Float32Array,
        evidence: KeypointEvidence,
        step_s: float,
        *,
        swapped: tuple[bool, bool] | None = None,
    ) -> Updated:
        """The filter's estimate with its correction, after the keypoints."""
        return self._update(
            _moved(estimate, found),
            evidence,
            prior_scale=min(1.0, WANDER * math.sqrt(step_s)),
            shape_scale=SHAPE_HELD,
            tangents=self._tangents[1],
            deviations=False,
            swapped=swapped,
        )

    def predict(self, t_ns: int) -> PersonState:
        """The filter's estimate for ``t_ns`` with the correction that is left then."""
        estimate = self.motion.predict(t_ns)
        if self._shown is None:
            return estimate
        fade = np.float32(self._fade(t_ns))
        share = None if self._share is None else 1 - fade * (1 - self._share)
        return replace(_moved(estimate, fade * self._shown), joint_std_share=share)

    def _fade(self, t_ns: int) -> float:
        """What is left of the last correction."""
        return math.exp(-max(0, t_ns - self._t_ns) / 1e9 / FADE_S)


def _moved(state: PersonState, step: Float32Array) -> PersonState:
    """The state with its mean moved by an error state (N,)."""
    mean = move(mean_of(state), step)
    return replace(
        state,
        z=np.asarray(mean.z, np.float32),
        root_quat_wxyz=np.array(mean.root, np.float32),
        translation_m=np.asarray(mean.translation_m, np.float32),
    )


def with_keypoints(
    new_filter: FilterFactory, update: KeypointUpdate, lifter: LifterWeights | None = None
) -> FilterFactory:
    """What makes such filters: each around a new one, with a temporal lifter of its own."""

    def new() -> KeypointFilter:
        return KeypointFilter(new_filter(), update, None if lifter is None else TemporalLifter(lifter))

    return new
