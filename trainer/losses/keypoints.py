"""Losses on the keypoint head: where each keypoint is, and how probably the answer is right."""

from torch import Tensor
from torch.nn import functional

from kinestream.regress.heads import cell_centers

TARGET_STD_CELLS = 1.25
"""Width of the target distribution in cells of the heat map."""

CONFIDENCE_RADIUS = 0.08
"""A keypoint is right when it lies within this distance in crop coordinates (4 % of the crop's side)."""


def heatmap_loss(heatmaps: Tensor, keypoints: Tensor) -> Tensor:
    """Cross entropy between the softmax over the cells and a Gaussian around the label.

    Args:
        heatmaps: (B, K, h, w) logits.
        keypoints: (B, K, 3) crop coordinates and weight.

    Returns:
        The weighted mean over keypoints, a scalar; 0 where nothing is labelled.

    """
    height, width = heatmaps.shape[-2:]
    share_x = _gaussian(keypoints[..., 0], width)
    share_y = _gaussian(keypoints[..., 1], height)
    target = share_y[..., :, None] * share_x[..., None, :]  # (B, K, h, w), sums to one
    log_share = heatmaps.float().flatten(2).log_softmax(-1)
    entropy = -(target.flatten(2) * log_share).sum(-1)
    weight = keypoints[..., 2]
    return (weight * entropy).sum() / weight.sum().clamp_min(1.0)


def taught_loss(heatmaps: Tensor, taught: Tensor) -> Tensor:
    """Cross entropy between the softmax over the cells and a teacher's shares of them.

    Args:
        heatmaps: (B, K, h, w) logits.
        taught: (B, K, h, w) shares, each map summing to its weight.

    Returns:
        The weighted mean over keypoints, a scalar; 0 where nothing is taught.

    """
    log_share = heatmaps.float().flatten(2).log_softmax(-1)
    return -(taught.flatten(2) * log_share).sum() / taught.sum().clamp_min(1.0)


def _gaussian(centers: Tensor, count: int) -> Tensor:
    """Shares (..., count) of the cells in a Gaussian around crop coordinates (...)."""
    std = TARGET_STD_CELLS * 2.0 / count
    distance = (cell_centers(count, centers.device) - centers[..., None]) / std
    return (-0.5 * distance * distance).softmax(-1)


def confidence_loss(logits: Tensor, points: Tensor, keypoints: Tensor, known: Tensor) -> Tensor:
    """Binary cross entropy: is the keypoint in the crop, within ``CONFIDENCE_RADIUS`` of the answer?

    The answer to be predicted is computed from the current output, so that the confidence is a calibrated
    probability whatever the labels call visible.

    Args:
        logits: (B, K).
        points: (B, K, 2) the network's answer, crop coordinates.
        keypoints: (B, K, 3) labels; weight 0 where outside of the crop or unlabelled.
        known: (B, K) bool, where it is known whether and where the keypoint is.

    """
    distance = (points.detach() - keypoints[..., :2]).norm(dim=-1)
    right = (distance < CONFIDENCE_RADIUS) & (keypoints[..., 2] > 0)
    losses = functional.binary_cross_entropy_with_logits(logits.float(), right.float(), reduction="none")
    share = known.float()
    return (share * losses).sum() / share.sum().clamp_min(1.0)


def presence_loss(logits: Tensor, presence: Tensor) -> Tensor:
    """Binary cross entropy of presence (B,)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), presence)


def correct_share(points: Tensor, keypoints: Tensor, *, radius: float) -> Tensor:
    """Share of labelled keypoints (weight > 0) within ``radius`` crop coordinates of their label."""
    labelled = keypoints[..., 2] > 0
    right = (points - keypoints[..., :2]).norm(dim=-1) < radius
    share: Tensor = (right & labelled).sum() / labelled.sum().clamp_min(1)
    return share
