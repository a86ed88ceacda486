"""Recorded observations as the tracker's filters read them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.geometry.camera import Camera
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

_UNIT_PX: Final = 1000.0
PLANE_CAMERA: Final = Camera(2000, 2000, (_UNIT_PX, _UNIT_PX), (_UNIT_PX, _UNIT_PX))
"""Pixels of this camera are places on the plane at 1, times a thousand."""


class SeenFrame(NamedTuple):
    """One person in one picture."""

    t_ns: int
    missing: bool
    state: PersonState
    evidence: KeypointEvidence


def seen_frames(recorded: RecordedObservations, clip: int) -> Iterator[SeenFrame]:
    """The frames of one clip, in order; also those in which the person was missed."""
    for frame in range(recorded.frames):
        std = recorded.std[clip, frame]
        state = PersonState(
            z=recorded.seen_z[clip, frame],
            z_std=std[:-6],
            root_quat_wxyz=recorded.seen_root_quat_wxyz[clip, frame],
            root_std_rad=float(std[-6]),
            translation_m=recorded.seen_translation_m[clip, frame],
            translation_std_m=std[-3:],
            betas=recorded.seen_betas[clip, frame],
            betas_std=recorded.betas_std[clip, frame],
        )
        points = recorded.keypoints[clip, frame].astype(np.float64)
        points[:, :2] = points[:, :2] * _UNIT_PX + _UNIT_PX
        side_px = 2 * _UNIT_PX * float(recorded.half_box[clip, frame])
        covariance = recorded.covariance[clip, frame].astype(np.float64) * _UNIT_PX**2
        evidence = KeypointEvidence(points, PLANE_CAMERA, side_px, covariance)
        yield SeenFrame(
            round(frame * 1e9 / recorded.fps), bool(recorded.missing[clip, frame]), state, evidence
        )


def true_state(recorded: RecordedObservations, clip: int, frame: int, like: PersonState) -> PersonState:
    """The person as they truly are in a frame, with the deviations of ``like``."""
    return replace(
        like,
        z=recorded.z[clip, frame],
        root_quat_wxyz=recorded.root_quat_wxyz[clip, frame],
        translation_m=recorded.translation_m[clip, frame],
        betas=recorded.betas[clip],
    )
