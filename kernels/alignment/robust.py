"""Robust penalties of a squared distance over sigma, shared by the alignment and the keypoint losses."""

from typing import Literal

import torch
from torch import Tensor

Robustifier = Literal["geman_mcclure", "huber"]


def robust_penalty(t: Tensor, robustifier: Robustifier) -> Tensor:
    """Penalty of t = (r / sigma)^2, without unit: quadratic near zero, then flat or linear.

    "geman_mcclure" t / (1 + t) (Geman and McClure 1987), bounded by 1; "huber" t / 2 up to t = 1 and
    sqrt(t) - 1/2 beyond (Huber 1964).
    """
    if robustifier == "geman_mcclure":
        return t / (1 + t)
    return torch.where(t <= 1, t / 2, t.clamp(min=1).sqrt() - 0.5)
