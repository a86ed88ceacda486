"""Weak supervision of the body state: the body must project onto known keypoints and parts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kinestream.body.model import BodyOutput
from kinestream.geometry.rotation import matrix_from_sixd
from kinestream.networks.interface import BodyState
from kinestream.regress.state_head import to_plane
from kinestream.trainer.losses.alignment import PartTargets, part_alignment
from kinestream.trainer.losses.body import BodyLoss, in_half_extents

_ROBUST = 0.1
_MAX_DISTANCE = 2.0


@dataclass(frozen=True)
class WeakLossWeights:
    """Weights of the terms; distances of the reprojection are in half extents of the crop.

    The alignment poses all vertices and searches neighbours, so it is only computed with a positive weight.
    """

    reprojection: float = 1.0
    alignment: float = 0.0
    prior: float = 0.002
    shape: float = 0.002


def weak_body_loss(
    body_loss: BodyLoss,
    state: BodyState,
    *,
    keypoints: Tensor,
    to_virtual: Tensor,
    log_extent: Tensor,
    parts: PartTargets | None = None,
    weights: WeakLossWeights | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Confidence-weighted reprojection (pseudo-Huber), part alignment, latent prior and shape prior.

    The camera of such photos is unknown; the one assumed only decides how depth and size trade off.

    Args:
        body_loss: knows the flow and the body.
        state: of B people.
        keypoints: (B, 23, 3) crop coordinates and weight.
        to_virtual: (B, 3, 3) crop coordinates -> virtual plane.
        log_extent: (B,).
        parts: of the crops, for the alignment.
        weights: of the terms.

    Returns:
        Loss and unweighted terms, scalars.

    """
    weights = weights or WeakLossWeights()
    root = matrix_from_sixd(state.root_sixd)
    surface: BodyOutput | None = None
    if weights.alignment > 0:
        surface = body_loss.surface(state, root, log_extent)
        body_keypoints = surface.keypoints_m
    else:
        _, body_keypoints, _ = body_loss.posed(state, root, log_extent)
    gap = in_half_extents(body_keypoints, log_extent) - to_plane(keypoints[..., :2], to_virtual)
    squared = gap.clamp(-_MAX_DISTANCE, _MAX_DISTANCE).square().sum(-1)
    robust = torch.sqrt(squared + _ROBUST**2) - _ROBUST
    weight = keypoints[..., 2]
    terms = {
        "reprojection": (weight * robust).sum() / weight.sum().clamp_min(1.0),
        "prior": 0.5 * state.z.square().sum(1).mean(),
        "shape": 0.5 * state.betas.square().sum(1).mean(),
    }
    if surface is not None and parts is not None:
        terms["alignment"] = part_alignment(
            body_loss.body,
            surface.vertices_m,
            parts,
            to_virtual=to_virtual,
            log_extent=log_extent,
        )
    total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return total, {name: value.detach() for name, value in terms.items()}
