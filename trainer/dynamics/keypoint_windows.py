"""Windows of recorded observations: one frame, the keypoints before it, and the true pose."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kinestream.filtering.temporal_lifter import LAGS_S, NEARER
from kinestream.geometry.rotation import matrix_from_quat
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator, towards
from kinestream.trainer.losses.body import Z_LIMIT

SLOWEST_HZ, FASTEST_HZ = 8.0, 120.0
YOUNG = 0.18
"""Share of windows of a track that has just begun: some lags have no picture."""
UNSEEN = 0.03
"""Share of earlier pictures in which the person was missed."""
_NEAREST = 0.05


class Windows(NamedTuple):
    """B windows, in virtual cameras that look at the observed pelvis; lengths in half boxes."""

    points: Tensor  # (B, 23, 2)
    confidence: Tensor  # (B, 23)
    log_half_box: Tensor  # (B,)
    past: Tensor  # (B, L, 23, 2) at the lags
    past_confidence: Tensor  # (B, L, 23); zero where there was no picture
    lag_s: Tensor  # (B, L) real ones
    z: Tensor  # (B, D) observed, as are the next
    root: Tensor  # (B, 3, 3)
    z_log_std: Tensor  # (B, D)
    root_log_std: Tensor  # (B, 1)
    betas: Tensor  # (B, 10)
    true_z: Tensor  # (B, D)
    true_root: Tensor  # (B, 3, 3)
    true_betas: Tensor  # (B, 10)

    @classmethod
    def joined(cls, parts: "Sequence[Windows]") -> "Windows":
        """The windows of all."""
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def random_windows(recorded: RecordedObservations, count: int, generator: torch.Generator) -> Windows:
    """Frames at random in which the person was seen, in streams from 8 Hz up to the recording's rate."""
    if recorded.is_of_moments:
        rows = torch.from_numpy(np.flatnonzero(~recorded.missing[:, -1]))
        clips = rows[torch.randint(len(rows), (count,), generator=generator)]
        return with_gaps(_of_moments(recorded, clips, torch.tensor(LAGS_S).expand(count, -1)), generator)
    clips, frames = (torch.from_numpy(index) for index in np.nonzero(~recorded.missing))
    rows = torch.randint(len(clips), (count,), generator=generator)
    rate = random_rates(count, recorded.fps, generator)
    return with_gaps(windows_at(recorded, clips[rows], frames[rows], rate), generator)


def simulated_windows(
    simulate: ObservationSimulator, count: int, generator: torch.Generator, *, varied: bool = True
) -> Windows:
    """Windows of new clips, one of each, in streams from 8 to 120 Hz."""
    rate = random_rates(count, FASTEST_HZ, generator)
    lags = torch.tensor(LAGS_S)
    lag_s = (lags * rate[:, None]).round().clamp_min(1) / rate[:, None]
    ago = torch.cat([torch.zeros(count, 1), lag_s], 1).flip(1)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    found = simulate.moments((ago[:, :1] - ago).double().numpy(), seed=(seed,), varied=varied)
    windows = _of_moments(found, torch.arange(count), lag_s)
    return with_gaps(windows, generator) if varied else windows


def _of_moments(recorded: RecordedObservations, clip: Tensor, lag_s: Tensor) -> Windows:
    """Windows of clips (B,) of moments."""
    last = len(LAGS_S)
    at = torch.arange(last, -1, -1).expand(len(clip), -1)
    return _taken(recorded, clip, at, lag_s)


def random_rates(count: int, fastest_hz: float, generator: torch.Generator) -> Tensor:
    """Frame rates (B,): many of 30 Hz, the others anything."""
    rate = SLOWEST_HZ * (fastest_hz / SLOWEST_HZ) ** torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.4, 30.0, rate)


def with_gaps(windows: Windows, generator: torch.Generator) -> Windows:
    """The same, some of tracks that have just begun, and without some of the earlier pictures."""
    count, lags = windows.lag_s.shape
    young = torch.rand(count, generator=generator) < YOUNG
    age = torch.randint(0, lags, (count,), generator=generator)
    age = torch.where(young, age, lags)
    unseen = torch.rand(count, lags, generator=generator) < UNSEEN
    return _without(windows, unseen | (torch.arange(lags) >= age[:, None]))


def windows_at(recorded: RecordedObservations, clip: Tensor, frame: Tensor, rate_hz: Tensor) -> Windows:
    """Windows at frames (B,) of clips (B,), of streams at rates (B,)."""
    step = (recorded.fps / rate_hz).round().clamp_min(1)
    lags = torch.tensor(LAGS_S)
    back = (lags * (recorded.fps / step)[:, None]).round().clamp_min(1) * step[:, None]
    at = frame[:, None] - torch.cat([torch.zeros(len(frame), 1), back], 1).long()
    at = at.clamp_min(0)
    lag_s = (frame[:, None] - at[:, 1:]) / recorded.fps
    found = _taken(recorded, clip, at, lag_s)
    return _without(found, lag_s < NEARER * lags)


def _taken(recorded: RecordedObservations, clip: Tensor, at: Tensor, lag_s: Tensor) -> Windows:
    """Windows of frames (B, 1 + L) of clips (B,), now and at the lags, which were really lag_s (B, L)."""
    place = (clip[:, None].numpy(), at.numpy())

    def taken(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values[place])

    turn = towards(taken(recorded.seen_translation_m)).transpose(-1, -2)
    keypoints = taken(recorded.keypoints)
    rays = torch.cat([keypoints[..., :2], torch.ones_like(keypoints[..., :1])], -1)
    rays = torch.einsum("btij,btkj->btki", turn, rays)
    half = taken(recorded.half_box)[:, 0]
    points = rays[..., :2] / rays[..., 2:].clamp_min(_NEAREST) / half[:, None, None, None]
    now = (place[0][:, 0], place[1][:, 0])
    std = torch.from_numpy(recorded.std[now]).log()
    roots = (recorded.seen_root_quat_wxyz, recorded.root_quat_wxyz)
    seen_root, true_root = (turn[:, 0] @ matrix_from_quat(torch.from_numpy(quats[now])) for quats in roots)
    found = Windows(
        points=points[:, 0],
        confidence=keypoints[:, 0, :, 2],
        log_half_box=half.log(),
        past=points[:, 1:],
        past_confidence=keypoints[:, 1:, :, 2],
        lag_s=lag_s,
        z=torch.from_numpy(recorded.seen_z[now]),
        root=seen_root,
        z_log_std=std[:, :-6],
        root_log_std=std[:, -6:-5],
        betas=torch.from_numpy(recorded.seen_betas[now]),
        true_z=torch.from_numpy(recorded.z[now]).clamp(-Z_LIMIT, Z_LIMIT),
        true_root=true_root,
        true_betas=torch.from_numpy(recorded.betas[now[0]]),
    )
    return _without(found, taken(recorded.missing)[:, 1:])


def _without(windows: Windows, absent: Tensor) -> Windows:
    """The same without some of the earlier pictures (B, L)."""
    nominal = torch.tensor(LAGS_S).expand_as(windows.lag_s)
    return windows._replace(
        past_confidence=torch.where(absent[..., None], 0.0, windows.past_confidence),
        lag_s=torch.where(absent, nominal, windows.lag_s),
    )
