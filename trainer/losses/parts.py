"""Loss on the part map, where pixels may be labelled by part, as person only, or not at all."""

import torch
from torch import Tensor

from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN


def part_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy; a pixel known to be person asks for any part: -log(1 - p(background)).

    Args:
        logits: (B, 16, h, w), 0 = background.
        labels: (B, h, w) int64, ``PART_PERSON`` and ``PART_UNKNOWN`` included.

    Returns:
        Mean over labelled pixels, a scalar.

    """
    log_share = logits.float().log_softmax(1)
    exact = labels < PART_PERSON
    by_part = -log_share.gather(1, torch.where(exact, labels, 0)[:, None])[:, 0]
    any_part = -torch.logsumexp(log_share[:, 1:], 1)
    losses = torch.where(exact, by_part, any_part)
    weight = (labels != PART_UNKNOWN).float()
    return (weight * losses).sum() / weight.sum().clamp_min(1.0)


def part_iou(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean intersection over union of the parts that occur, on exactly labelled pixels."""
    guess = logits.argmax(1)
    exact = labels < PART_PERSON
    values = []
    for part in range(1, logits.shape[1]):
        found, true = (guess == part) & exact, (labels == part)
        union = (found | true).sum()
        if true.any():
            values.append((found & true).sum() / union)
    return torch.stack(values).mean() if values else torch.zeros(())
