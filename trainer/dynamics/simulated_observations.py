"""Observations without pictures: motion capture, seen by the real lifter through bad keypoints.

Keypoints err as recorded ones do (`kinestream.trainer.data.crops.keypoint_errors`): a part of each error
lasts, a part wanders, a part is new in every frame; left and right are taken for each other for a while.
What the lifter makes of them errs as the network errs, which noise on the truth does not.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import FLOW_JOINT_NAMES, MIRROR_KEYPOINTS, NUM_BETAS, NUM_KEYPOINTS
from kinestream.geometry.rotation import (
    matrix_from_axis_angle,
    matrix_from_quat,
    matrix_from_sixd,
    quat_from_matrix,
    random_rotations,
    sixd_from_matrix,
)
from kinestream.latent.flow import PoseFlow
from kinestream.regress.lifter import Lifter, split_state
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.crops.lift_samples import UPPER_JOINTS, CameraRange, camera_turns, uniform
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.variety import varied_moments
from kinestream.trainer.dynamics.clips import LatentClips, Times
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.losses.body import pelvis_from_code, with_hands

LASTING, WANDERING = 0.35, 0.45
"""Shares of the errors' variance that last for a clip and that wander; the rest is new in every frame.

Measured on rendered clips: correlations of 0.8, 0.7, 0.5 and 0.36 after 1/60, 1/15, 1/4 and 1 s."""
WANDER_S = 0.25
GOOD = 0.4
"""Share of clips with smaller errors, so that good keypoints are no strangers."""
_CLEAN = 0.3
"""Clips with errors smaller than this share of the recorded ones have no left for right."""
_NEAR_M, _FAR_M = 1.5, 12.0
_MIXED = 0.3
_SHAKE_RAD = 0.12
_SPEED = 0.15
_ANY_TURN = 0.2
_EDGE = 0.95
_IMAGE = 0.7
"""Pictures tell more than keypoints: half the clips lose up to this share of the lifter's errors."""
_PELVIS_JITTER = 0.008
BOX_OVER_EXTENT = (0.075, 0.03)
"""Logarithm of the tracker's box over the extent of the true keypoints: mean and standard deviation."""


class ObservationSimulator:
    """Clips that nobody rendered, as `RecordedObservations`."""

    def __init__(
        self,
        clips: Sequence[MotionClip],
        flow: PoseFlow,
        body: BodyModel,
        lifter: Lifter,
        errors: KeypointErrors | None,
    ) -> None:
        """Take the motions, which are drawn by variety, and what sees them; without ``errors`` exactly."""
        self._clips = LatentClips(list(clips), flow)
        known = set(self._clips.names)
        chosen = [clip for clip in clips if clip.name in known]
        self._owners, self._times_s = varied_moments(chosen)
        self._flow, self._body = flow, body
        self._lifter, self._errors = lifter.eval(), errors

    def __call__(
        self, count: int, *, frames: int, fps: float, seed: tuple[int, ...], varied: bool = True
    ) -> RecordedObservations:
        """Draw ``count`` clips.

        Args:
            count: N.
            frames: T.
            fps: their rate.
            seed: of every random number.
            varied: exchange upper bodies, shake joints and change speeds, for training.

        """
        times_s = np.tile(np.arange(frames) / fps, (count, 1))
        return self._observed(times_s, fps, np.random.default_rng(seed), varied=varied, all_states=True)

    def moments(self, times_s: Times, *, seed: tuple[int, ...], varied: bool = True) -> RecordedObservations:
        """The same for clips seen at uneven times (N, T), rising from 0, of which the last frames are of use.

        The frames before have keypoints and the observed direction of the pelvis, and no states.
        """
        return self._observed(times_s, np.nan, np.random.default_rng(seed), varied=varied, all_states=False)

    @torch.no_grad()
    def _observed(
        self, times_s: Times, fps: float, rng: np.random.Generator, *, varied: bool, all_states: bool
    ) -> RecordedObservations:
        count, frames = times_s.shape
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rotations, moved_m = self._motion(
            times_s, rng, generator, varied=varied, ends_at_moment=not all_states
        )
        betas = 0.9 * torch.randn(count, NUM_BETAS, generator=generator)
        _, keypoints = self._body.skeleton(
            betas.repeat_interleave(frames, 0), with_hands(rotations.flatten(0, 1)), moved_m.flatten(0, 1)
        )
        keypoints = keypoints.unflatten(0, (count, frames))
        depth = torch.exp(uniform((count,), math.log(_NEAR_M), math.log(_FAR_M), generator))
        depth = torch.maximum(depth, 0.4 - keypoints[..., 2].amin((1, 2)))
        keypoints[..., 2] += depth[:, None, None]
        moved_m[..., 2] += depth[:, None]
        plane = keypoints[..., :2] / keypoints[..., 2:]
        low, high = plane.amin(2), plane.amax(2)
        extent = (high - low).amax(-1)  # (N, T)
        turn, half = _crops(low, high, extent, generator)
        inside = torch.einsum("ntij,ntkj->ntki", turn, keypoints)
        points = inside[..., :2] / inside[..., 2:].clamp_min(0.05) / half[..., None, None]
        noisy, confidence = points, torch.ones(points.shape[:3])
        if self._errors is not None:
            noisy, confidence = _erring(points, self._errors, times_s, generator, varied=varied)
        rays = torch.cat([noisy * half[..., None, None], torch.ones(*noisy.shape[:3], 1)], -1)
        rays = torch.einsum("ntji,ntkj->ntki", turn, rays)
        told = slice(None) if all_states else slice(frames - 1, None)
        log_half = half[:, told].log().flatten()
        _, flat_state = self._lifter(
            noisy[:, told].flatten(0, 1), confidence[:, told].flatten(0, 1), log_half
        )
        state = split_state(flat_state, self._flow.dim)
        true_z = self._flow.encode(rotations[:, told, 1:].flatten(0, 1))
        back = turn[:, told].transpose(-1, -2).flatten(0, 1)
        root = back @ matrix_from_sixd(state.root_sixd)
        if varied:
            told_by_image = _IMAGE * torch.rand(count, 1, generator=generator)
            told_by_image *= torch.rand(count, 1, generator=generator) < 0.5
            share = told_by_image.repeat_interleave(len(true_z) // count, 0)
            true_root = rotations[:, told, 0].flatten(0, 1)
            root = matrix_from_sixd(
                sixd_from_matrix(root) + share * (sixd_from_matrix(true_root) - sixd_from_matrix(root))
            )
            state = state._replace(
                z=state.z + share * (true_z - state.z),
                z_log_std=state.z_log_std + torch.log1p(-share),
                root_log_std=state.root_log_std + torch.log1p(-share),
            )
        pelvis = pelvis_from_code(state.pelvis, log_half)
        place = torch.einsum("nij,nj->ni", back, pelvis)
        sideways = log_half.exp()[:, None].expand(-1, 2)
        place_std = state.pelvis_log_std.exp() * pelvis[:, 2:]
        place_std = place_std * torch.cat([sideways, torch.ones_like(pelvis[:, 2:])], 1)
        std = torch.cat([state.z_log_std.exp(), state.root_log_std.exp().expand(-1, 3), place_std], 1)
        box = torch.exp(BOX_OVER_EXTENT[0] + BOX_OVER_EXTENT[1] * torch.randn(count, 1, generator=generator))

        def shaped(values: Tensor) -> np.ndarray:
            """(N T, ...) or (N, ...) of the last frame -> (N, T, ...)."""
            values = values.unflatten(0, (count, -1))
            return values.expand(-1, frames, *values.shape[2:]).numpy().astype(np.float32)

        seen_place = shaped(place)
        if not all_states:  # the pelvis is missed by much the same in all frames
            jitter = _PELVIS_JITTER * half[..., None] * torch.randn(moved_m.shape, generator=generator)
            direction = moved_m / moved_m[..., 2:]
            offset = (place / place[:, 2:] - direction[:, -1])[:, None] + jitter * (
                torch.arange(frames) < frames - 1
            )[:, None]
            seen_place = (moved_m[..., 2:] * (direction + offset)).numpy()
            seen_place[:, -1] = place.numpy()
        return RecordedObservations(
            fps=fps,
            z=shaped(true_z),
            root_quat_wxyz=shaped(quat_from_matrix(rotations[:, told, 0].flatten(0, 1))),
            translation_m=moved_m.numpy(),
            seen_z=shaped(state.z),
            seen_root_quat_wxyz=shaped(quat_from_matrix(root)),
            seen_translation_m=seen_place,
            std=shaped(std),
            missing=np.zeros((count, frames), bool),
            betas=betas.numpy(),
            seen_betas=shaped(state.betas),
            betas_std=shaped(state.betas_log_std.exp()),
            keypoints=torch.cat(
                [rays[..., :2] / rays[..., 2:].clamp_min(0.05), confidence[..., None]], -1
            ).numpy(),
            covariance=np.full((*confidence.shape, 3), np.nan, np.float32),
            half_box=(0.5 * box * extent).numpy(),
        )

    def _motion(
        self,
        times_s: Times,
        rng: np.random.Generator,
        generator: torch.Generator,
        *,
        varied: bool,
        ends_at_moment: bool,
    ) -> tuple[Tensor, Tensor]:
        """Rotations (N, T, 22, 3, 3), root in the camera, and places (N, T, 3) relative to the first."""
        clips, (count, frames) = self._clips, times_s.shape
        speed = np.exp(_SPEED * rng.standard_normal(count)) if varied else np.ones(count)

        def drawn(rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
            moment = rng.integers(0, len(self._owners), len(rows))
            chosen = self._owners[moment]
            length_s = speed[rows] * times_s[rows, -1]
            before_s = length_s if ends_at_moment else rng.random(len(rows)) * length_s
            latest_s = np.maximum(clips.durations_s[chosen] - length_s, 0)
            start = (self._times_s[moment] - before_s).clip(0, latest_s)
            times = start[:, None] + speed[rows, None] * times_s[rows]
            states = clips.at(chosen, times, mirrored=rng.random(len(rows)) < 0.5)
            pose = self._flow.decode(torch.from_numpy(states.z).flatten(0, 1)).unflatten(0, (-1, frames))
            return pose, torch.from_numpy(states.root_quat_wxyz), torch.from_numpy(states.translation_m)

        pose, root_quat, place = drawn(np.arange(count))
        if varied:
            mixed = np.flatnonzero(rng.random(count) < _MIXED)
            upper = torch.tensor(UPPER_JOINTS)
            pose[mixed] = pose[mixed].index_copy(2, upper, drawn(mixed)[0][:, :, upper])
            size = _SHAKE_RAD * torch.rand(count, 1, 1, 1, generator=generator)
            shake = size * torch.randn(count, 1, len(FLOW_JOINT_NAMES), 3, generator=generator)
            pose = pose @ matrix_from_axis_angle(shake)
        turn = camera_turns(count, generator, CameraRange())
        turned = torch.rand(count, generator=generator) < (_ANY_TURN if varied else _ANY_TURN / 2)
        turn[turned] = random_rotations((int(turned.sum()),), generator=generator).float()
        root = turn[:, None] @ matrix_from_quat(root_quat)
        moved = torch.einsum("nij,ntj->nti", turn, place - place[:, :1])
        return torch.cat([root[:, :, None], pose], 2), moved


def _crops(low: Tensor, high: Tensor, extent: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Virtual cameras of the crops: rotations (N, T, 3, 3) from the camera, and half extents (N, T)."""
    count, frames = extent.shape
    wider = torch.exp(0.08 * torch.randn(count, generator=generator))
    cut = torch.rand(count, generator=generator) < 0.08
    wider = torch.where(cut, wider * uniform((count,), 0.5, 0.85, generator), wider)
    offset = 0.04 * torch.randn(count, 2, generator=generator)
    shift = -0.3 + 0.6 * torch.rand(count, 2, generator=generator)
    offset = torch.where(cut[:, None], shift, offset)[:, None]
    offset = offset + 0.01 * torch.randn(count, frames, 2, generator=generator)
    centre = (low + high) / 2 + offset * extent[..., None]
    rays = torch.cat([centre, torch.ones(count, frames, 1)], -1)
    half = extent * CameraRange().margin * wider[:, None] / 2
    return towards(rays).transpose(-1, -2), half


def towards(rays: Tensor) -> Tensor:
    """Smallest rotations (..., 3, 3) that take the optical axis to rays (..., 3), which point forward."""
    x, y, z = (rays / rays.norm(dim=-1, keepdim=True)).unbind(-1)
    shared = 1 / (1 + z)
    rows = ((1 - x * x * shared, -x * y * shared, x), (-x * y * shared, 1 - y * y * shared, y), (-x, -y, z))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _erring(
    points: Tensor, errors: KeypointErrors, times_s: Times, generator: torch.Generator, *, varied: bool
) -> tuple[Tensor, Tensor]:
    """Keypoints (N, T, 23, 2) with errors, and confidences (N, T, 23)."""
    count, frames = points.shape[:2]

    def drawn() -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(len(errors.offset), (count,), generator=generator)
        return errors.offset[rows], errors.exchanged[rows], errors.confidence[rows]

    lasting, wandering = drawn(), drawn()
    gaps_s = np.diff(times_s, axis=1, prepend=times_s[:, :1])
    offsets, swaps, confidences = [], [], []
    for frame in range(frames):
        fresh, new = drawn(), drawn()
        keep = torch.from_numpy(np.exp(-gaps_s[:, frame] / WANDER_S)).float()[:, None]
        anew = torch.rand(count, 1, generator=generator) >= keep
        wandering = (
            keep[..., None] * wandering[0] + (1 - keep * keep).sqrt()[..., None] * fresh[0],
            torch.where(anew, fresh[1], wandering[1]),
            keep * wandering[2] + (1 - keep) * fresh[2],
        )
        rest = 1 - LASTING - WANDERING
        shares = ((LASTING, lasting), (WANDERING, wandering), (rest, new))
        offsets.append(sum(math.sqrt(share) * part[0] for share, part in shares))
        confidences.append(sum(share * part[2] for share, part in shares))
        which = torch.rand(count, 1, generator=generator)
        later = torch.where(which < LASTING + WANDERING, wandering[1], new[1])
        swaps.append(torch.where(which < LASTING, lasting[1], later))
    offset, swapped = torch.stack(offsets, 1), torch.stack(swaps, 1)  # type: ignore[arg-type]
    confidence = torch.stack(confidences, 1)  # type: ignore[arg-type]
    good = torch.rand(count, 1, 1, generator=generator) < (GOOD if varied else 0.0)
    scale = torch.where(good, 0.8 * torch.rand(count, 1, 1, generator=generator), 1.0)
    swapped = swapped & ~(good & (scale < _CLEAN))
    partner = points[:, :, list(MIRROR_KEYPOINTS)]
    seen = torch.where(swapped[..., None], partner, points) + offset * scale[..., None]
    outside = (points.abs() >= 1).any(-1)
    edge = 0.7 * torch.rand(count, frames, NUM_KEYPOINTS, generator=generator) ** 3
    return seen.clamp(-_EDGE, _EDGE), torch.where(outside, edge, 1 - (1 - confidence) * scale)
