"""Dense heads: keypoint heat maps and part maps, and how keypoints are read out of the heat maps."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kinestream.body.skeleton import NUM_KEYPOINTS, NUM_PARTS
from kinestream.networks.backbone import separable_head

READOUT_SHARPNESS = 6.0
"""Heat maps are read at this power, so that a second, weaker mode hardly draws the mean."""
SPREAD_SHARPNESS = 2.0
"""Power at which covariance and peak are measured: there a second mode is to be noticed."""


class DenseHead(nn.Module):
    """Features (B, width, h, w) at stride 4 -> heat maps (B, 23, h, w), and part logits (B, 16, h, w).

    Part 0 is background.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.keypoints = separable_head(width, NUM_KEYPOINTS)
        self.parts = separable_head(width, 1 + NUM_PARTS)


class KeypointReading(NamedTuple):
    """What the heat maps say; positions are crop coordinates, -1..1 from edge to edge."""

    points: Tensor  # (B, 23, 2)
    covariance: Tensor  # (B, 23, 3) of the map: xx, xy, yy in the same unit
    peak: Tensor  # (B, 23) largest probability of one cell


def read_keypoints(heatmaps: Tensor) -> KeypointReading:
    """Mean and covariance of sharpened distributions over the cells (integral regression, Sun et al. 2018).

    The covariance is taken around its own mean, so that it holds in half precision too.
    """
    height, width = heatmaps.shape[-2:]
    logits = heatmaps.float().flatten(2)
    x, y = cell_centers(width, heatmaps.device), cell_centers(height, heatmaps.device)
    grid = torch.stack([x.repeat(height), y.repeat_interleave(width)], -1)  # (h w, 2)
    points = (READOUT_SHARPNESS * logits).softmax(-1) @ grid
    share = (SPREAD_SHARPNESS * logits).softmax(-1)
    mean = share @ grid
    dx, dy = grid[:, 0] - mean[..., :1], grid[:, 1] - mean[..., 1:]
    pulls = share * dx, share * dy
    covariance = torch.stack([(pulls[0] * dx).sum(-1), (pulls[0] * dy).sum(-1), (pulls[1] * dy).sum(-1)], -1)
    return KeypointReading(points, covariance, share.amax(-1))


def cell_centers(count: int, device: torch.device | None = None) -> Tensor:
    """Crop coordinates of the centres of ``count`` cells that tile the crop."""
    return (torch.arange(count, device=device, dtype=torch.float32) + 0.5) * (2.0 / count) - 1.0


class ConfidenceHead(nn.Module):
    """The probability that each keypoint is right, and whether the crop holds a person at all."""

    def __init__(self, pooled: int) -> None:
        super().__init__()
        self.confidence = nn.Linear(3 * NUM_KEYPOINTS + pooled, NUM_KEYPOINTS)
        self.presence = nn.Linear(pooled, 1)

    def forward(self, reading: KeypointReading, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of confidence (B, 23) and of presence (B,).

        The heat maps get no gradient from here: they are to be right, not to look certain.
        """
        spread = torch.sqrt(reading.covariance[..., ::2] + 1e-6)
        shape = torch.cat([spread.flatten(1), reading.peak], 1).detach()
        return self.confidence(torch.cat([shape, pooled], 1)), self.presence(pooled)[:, 0]
