"""Confidence-weighted reprojection of 3-D keypoints."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from kernels.alignment.robust import Robustifier, robust_penalty


def reprojection_loss(
    keypoints_m: Tensor,
    target_px: Tensor,
    confidence: Tensor,
    *,
    camera: Tensor,
    sigma_px: float = 16.0,
    robustifier: Robustifier = "geman_mcclure",
    near_m: float = 0.01,
) -> Tensor:
    """Mean robust distance (B,) between projected keypoints and their places in the image, without unit.

    The mean is weighted by confidence over the keypoints in front of the camera; an image without any gives
    zero. Keypoints at or behind the near plane get zero gradient.

    Args:
        keypoints_m: (B,K,3) camera metres.
        target_px: (B,K,2) pixels; entries of no confidence may hold anything, NaN included.
        confidence: (B,K) weights >= 0.
        camera: intrinsics (3,3) or (B,3,3); the last row is taken as 0 0 1. Differentiable.
        sigma_px: scale of the robustifier.
        robustifier: "geman_mcclure" or "huber", as in the alignment loss.
        near_m: depth in metres up to which a keypoint does not count.

    Raises:
        ValueError: shapes do not fit, or sigma_px, near_m or robustifier is none.
    """
    batch, count = keypoints_m.shape[:2]
    shapes = (keypoints_m.shape, target_px.shape, confidence.shape)
    if shapes != ((batch, count, 3), (batch, count, 2), (batch, count)):
        found = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(f"keypoints_m, target_px, confidence must be (B,K,3), (B,K,2), (B,K), found {found}")
    if camera.shape not in ((3, 3), (batch, 3, 3)):
        raise ValueError(f"camera must be (3,3) or ({batch},3,3), found {tuple(camera.shape)}")
    if not sigma_px > 0 or not near_m > 0 or robustifier not in get_args(Robustifier):
        raise ValueError(
            f"sigma_px and near_m must be positive and robustifier one of {get_args(Robustifier)}, "
            f"found {sigma_px}, {near_m} and {robustifier!r}"
        )
    counts = (confidence > 0) & (keypoints_m[..., 2] > near_m)
    safe = torch.where(counts[..., None], keypoints_m, 1)
    points = safe @ camera[..., :2, :].transpose(-1, -2) / safe[..., 2:]
    offset = points - torch.where(counts[..., None], target_px, 0)
    weights = torch.where(counts, confidence, 0)
    penalties = robust_penalty(offset.square().sum(-1) / sigma_px**2, robustifier)
    return (weights * penalties).sum(1) / weights.sum(1).clamp(min=torch.finfo(weights.dtype).tiny)
