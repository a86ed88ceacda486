"""Losses of the detector: centres by focal loss, boxes by their overlap."""

import torch
from torch import Tensor
from torch.nn import functional

from kinestream.detect.network import STRIDE, cell_centers_px

CENTER_SHARE = 0.12
"""Standard deviation of the centre's target, as a share of the box's sides."""
_NEAR = 0.11
"""Boxes are taught where the centre's target is at least this, a quarter of the sides around the middle:
MoveNet's centre of a person is the mean of the joints, which is not the middle of the box."""


def center_target(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Target of one frame with boxes (P, 4): centre map (h, w) 0..1, and the box (4, h, w) of each cell.

    Each cell belongs to the person whose centre is nearest in terms of its box; the cell nearest to each
    centre has the value 1.
    """
    if not len(boxes):
        return torch.zeros(height, width), torch.zeros(4, height, width)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    std = ((boxes[:, 2:] - boxes[:, :2]) * CENTER_SHARE).clamp_min(0.6 * STRIDE)
    x = (cell_centers_px(width)[None, :] - middle[:, :1]) / std[:, :1]  # (P, w)
    y = (cell_centers_px(height)[None, :] - middle[:, 1:]) / std[:, 1:]
    values = torch.exp(-0.5 * (x[:, None, :] ** 2 + y[:, :, None] ** 2))  # (P, h, w)
    best, owner = values.max(0)
    flat = values.flatten(1).argmax(1)
    best = best.flatten()
    best[flat] = 1.0
    return best.view(height, width), boxes.T[:, owner]


def center_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Law & Deng 2018) of centre maps (B, h, w), per person."""
    share = torch.sigmoid(logits.float())
    positive = (target >= 1.0).float()
    hit = -((1 - share) ** 2) * functional.logsigmoid(logits.float()) * positive
    miss = -(share**2) * functional.logsigmoid(-logits.float()) * (1 - target) ** 4 * (1 - positive)
    return (hit.sum() + miss.sum()) / positive.sum().clamp_min(1.0)


def box_loss(boxes: Tensor, target_boxes: Tensor, target: Tensor) -> Tensor:
    """1 - generalised overlap (Rezatofighi et al. 2019) near centres; maps (B, 4, h, w) and (B, h, w)."""
    weight = torch.where(target >= _NEAR, target.sqrt(), 0.0)
    low, high = (
        torch.maximum(boxes[:, :2], target_boxes[:, :2]),
        torch.minimum(boxes[:, 2:], target_boxes[:, 2:]),
    )
    shared = (high - low).clamp_min(0).prod(1)
    union = _area(boxes) + _area(target_boxes) - shared
    outer_low = torch.minimum(boxes[:, :2], target_boxes[:, :2])
    outer_high = torch.maximum(boxes[:, 2:], target_boxes[:, 2:])
    hull = (outer_high - outer_low).clamp_min(0).prod(1)
    overlap = shared / union.clamp_min(1.0) - (hull - union) / hull.clamp_min(1.0)
    return (weight * (1 - overlap)).sum() / weight.sum().clamp_min(1.0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1)
