"""Heatmaps to coordinates, differentiably."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class SoftArgmax(NamedTuple):
    """Mean and variance of the positions under a heatmap's softmax, in heatmap pixels, x before y."""

    points_px: Tensor  # (B,K,2)
    variance_px2: Tensor  # (B,K,2)


def soft_argmax(logits: Tensor) -> SoftArgmax:
    """Decode heatmaps (B,K,H,W) of logits by their expectation (Sun et al. 2018, integral regression).

    Pixel centres lie at integers. The variance tells a sharp peak from an undecided map. Raises ValueError
    for another number of axes or an empty map.
    """
    if logits.ndim != 4 or 0 in logits.shape[2:]:
        raise ValueError(f"logits must be a non-empty (B,K,H,W), found {tuple(logits.shape)}")
    height, width = logits.shape[2:]
    probability = logits.flatten(2).softmax(2).view(logits.shape)
    means, variances = [], []
    for marginal, size in ((probability.sum(2), width), (probability.sum(3), height)):
        positions = torch.arange(size, dtype=logits.dtype, device=logits.device)
        mean = marginal @ positions
        means.append(mean)
        variances.append((marginal * (positions - mean[..., None]).square()).sum(-1))
    return SoftArgmax(torch.stack(means, -1), torch.stack(variances, -1))
