"""Body-part alignment of an estimated body with a part map that may be known only in part."""

from typing import NamedTuple

import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.kernels.alignment import alignment_loss
from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN

SIGMA_CELLS = 3.0
"""Scale of the robustifier in pixels of the part map."""

THINNING = 3
"""One vertex in so many takes part: enough for the map, and three times as fast."""

_SURFACE_M = 0.08
"""Vertices less than this behind the nearest one in their pixel count as seen."""


class PartTargets(NamedTuple):
    """What the pixels of B part maps are taken for."""

    part_map: Tensor  # (B, h, w) 0 background, part + 1
    confidence: Tensor  # (B, h, w) 0..1


def part_targets(labels: Tensor, logits: Tensor) -> PartTargets:
    """Labels (B, h, w), completed by the network's own parts (B, 16, h, w logits), weighted by probability.

    Those stand where only "person" or nothing is known; no gradient goes there.
    """
    share = logits.detach().float().softmax(1)
    best, guess = share.max(1)
    part_share, part = share[:, 1:].max(1)
    known, nothing = labels < PART_PERSON, labels == PART_UNKNOWN
    part_map = torch.where(known, labels, torch.where(nothing, guess, part + 1))
    return PartTargets(part_map, torch.where(known, 1.0, torch.where(nothing, best, part_share)))


def part_alignment(
    body: BodyModel, vertices_m: Tensor, parts: PartTargets, *, to_virtual: Tensor, log_extent: Tensor
) -> Tensor:
    """Mean alignment loss of B bodies, a scalar; see :func:`kinestream.kernels.alignment.alignment_loss`.

    Args:
        body: whose vertices these are.
        vertices_m: (B, V, 3) in the virtual camera.
        parts: of the crops.
        to_virtual: (B, 3, 3) crop coordinates -> virtual plane.
        log_extent: (B,).

    """
    side, vertices_m = parts.part_map.shape[-1], vertices_m[:, ::THINNING]
    points = project_to_map(vertices_m, to_virtual, log_extent, side)
    return alignment_loss(
        points,
        body.part_labels[::THINNING],
        parts.part_map,
        visibility=visible(points, vertices_m[..., 2], side),
        confidence=parts.confidence,
        sigma_px=SIGMA_CELLS,
    ).total.mean()


def project_to_map(vertices_m: Tensor, to_virtual: Tensor, log_extent: Tensor, side: int) -> Tensor:
    """Vertices (B, V, 3) in the virtual camera -> pixels (B, V, 2) of a map of ``side`` pixels of the crop.

    Vertices behind the camera become NaN, which the alignment leaves out.
    """
    depth = vertices_m[..., 2:]
    plane = vertices_m[..., :2] / depth.clamp_min(1e-3) / log_extent.exp()[:, None, None]
    homogeneous = torch.cat([plane, torch.ones_like(depth)], -1) @ torch.linalg.inv(to_virtual).transpose(
        1, 2
    )
    crop = homogeneous[..., :2] / homogeneous[..., 2:]
    pixels = (crop + 1) * (side / 2) - 0.5
    return torch.where(depth > 0.05, pixels, torch.nan)


@torch.no_grad()
def visible(points: Tensor, depth_m: Tensor, side: int) -> Tensor:
    """Which vertices (B, V) nothing nearer hides, by the pixels of the map."""
    inside = torch.isfinite(points).all(-1)
    cell = torch.where(inside[..., None], points, 0.0).round().long().clamp(-1, side) + 1
    index = cell[..., 1] * (side + 2) + cell[..., 0]
    nearest = depth_m.new_full((len(points), (side + 2) ** 2), torch.inf)
    nearest.scatter_reduce_(1, index, torch.where(inside, depth_m, torch.inf), "amin")
    return inside & (depth_m <= nearest.gather(1, index) + _SURFACE_M)
