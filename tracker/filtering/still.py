"""Bodies in pictures that stand alone: no motion to follow, so each is fitted to its keypoints more closely.

The measurement update holds a pose near what the network and the lifter say of it. In video that is well so:
what one picture makes of the depth would be carried on. Of a photo the picture is all there is, and an
unusual pose is further from the network's than its deviations say. Where the keypoints are still a surprise
after an update, it is done again from there; where they are not, nothing changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kinestream.filtering.base import FilterFactory, KeypointEvidence, PersonState
from kinestream.filtering.keypoint_noise import KeypointNoise
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.filtering.temporal_lifter import LifterWeights, TemporalLifter
from kinestream.filtering.unfiltered import Unfiltered

SURPRISE: Final = 0.2
"""Energy of an update for each keypoint in use, in nats, beyond which the state was no good prior."""
MOST_UPDATES: Final = 8
SHARE_SLOPE: Final = 0.6
"""`KeypointNoise.share_slope` as photos have it; video has one between theirs and that of rendered people."""


class StillFilter(Unfiltered):
    """Answers each observation with the body that fits its keypoints, whatever was seen before."""

    name = "still"

    def __init__(self, update: KeypointUpdate, lifter: LifterWeights | None = None) -> None:
        """Take an update, which tracks may share, and the lifter that knows poses by their keypoints."""
        super().__init__()
        self._update = update
        self._lifter = lifter

    def observe(self, t_ns: int, observed: PersonState, evidence: KeypointEvidence) -> PersonState:
        """Take in what was seen with its keypoints."""
        if self._lifter is not None:
            observed = TemporalLifter(self._lifter).correct(t_ns, observed, evidence)
        return self.update(t_ns, fitted(self._update, observed, evidence))


def fitted(update: KeypointUpdate, state: PersonState, evidence: KeypointEvidence) -> PersonState:
    """The state after updates by the keypoints until they are no surprise any more.

    Deviations are those after the first one: further ones by the same keypoints tell nothing new.
    """
    found = update(state, evidence)
    told = found.state
    for _ in range(MOST_UPDATES - 1):
        if found.energy_after <= SURPRISE * max(1, int(found.used.sum())):
            break
        found = update(found.state, evidence, deviations=False)
    last = found.state
    return replace(
        told,
        z=last.z,
        root_quat_wxyz=last.root_quat_wxyz,
        translation_m=last.translation_m,
        betas=last.betas,
    )


def still_noise(noise: KeypointNoise) -> KeypointNoise:
    """How far keypoints of photos are off, of a regressor whose keypoints in video have ``noise``."""
    return replace(noise, share_slope=SHARE_SLOPE)


def for_stills(update: KeypointUpdate, lifter: LifterWeights | None = None) -> FilterFactory:
    """What makes such filters."""

    def new() -> StillFilter:
        return StillFilter(update, lifter)

    return new
