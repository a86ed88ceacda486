"""Temporal loss: the latent dynamics must find the states of consecutive frames likely."""

import torch
from torch import Tensor

from kinestream.geometry.rotation import matrix_from_sixd, quat_from_matrix
from kinestream.latent.dynamics import LatentDynamics, Pose, difference
from kinestream.networks.interface import BodyState
from kinestream.trainer.losses.body import pelvis_from_code

_FREEDOM = 5.0


def temporal_loss(
    dynamics: LatentDynamics, state: BodyState, *, log_extent: Tensor, times_s: Tensor
) -> Tensor:
    """Mean robust surprise of every frame but the first, given those before, in nats a dimension; a scalar.

    The dynamics run as the filter of the tracker does; variances are taken as given, so that the loss cannot
    be lowered by claiming larger ones.

    Args:
        dynamics: of the flow in whose latent space the states are.
        state: of N T frames, those of a sequence one after the other, all in one virtual camera.
        log_extent: (N T,).
        times_s: (N, T), T of at least 2, rising.

    """
    count, frames = times_s.shape
    if frames < 2:
        raise ValueError(
            f"temporal_loss: at least 2 frames are needed, found times of {tuple(times_s.shape)}"
        )
    pose = Pose(
        state.z,
        quat_from_matrix(matrix_from_sixd(state.root_sixd)),
        pelvis_from_code(state.pelvis, log_extent),
    )
    variance = _variance(state, pose.translation_m, log_extent)
    at = [Pose(*[field.reshape(count, frames, -1)[:, k] for field in pose]) for k in range(frames)]
    spread = variance.reshape(count, frames, -1)
    step = dynamics.start(at[0], spread[:, 0])
    balanced = spread.new_zeros(count)
    surprise = []
    for k in range(1, frames):
        lead_s = (times_s[:, k] - times_s[:, k - 1]).to(spread)
        prior = dynamics.predict(step.pose, step.curve, lead_s)
        expected = (prior.variance + spread[:, k]).detach()
        squared = difference(at[k], prior.pose).square() / (_FREEDOM * expected)
        surprise.append(0.5 * (_FREEDOM + 1) * torch.log1p(squared).mean(1))
        step = dynamics.update(prior, step.hidden, lead_s, at[k], spread[:, k], balanced)
    return torch.stack(surprise).mean()


def _variance(state: BodyState, translation_m: Tensor, log_extent: Tensor) -> Tensor:
    """Variances (B, D + 6) of z, root and translation, without gradient."""
    depth = translation_m[:, 2:].detach()
    pelvis = state.pelvis_log_std.detach().exp()
    across = pelvis[:, :2] * log_extent.exp()[:, None] * depth
    root = state.root_log_std.detach().exp().expand(-1, 3)
    parts = [state.z_log_std.detach().exp(), root, across, pelvis[:, 2:] * depth]
    return torch.cat(parts, 1).square().clamp_min(1e-8)
