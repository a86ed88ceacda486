"""Agreement of a body with the one seen in the mirrored picture."""

import torch
from torch import Tensor

from kinestream.body.skeleton import MIRROR_JOINTS


def mirror_disagreement(joints_m: Tensor, in_mirror_m: Tensor) -> Tensor:
    """Mean distance around the pelvis, in metres, of joints (B, 24, 3) and those of the mirrored picture.

    Both in the virtual cameras of their crops, which mirror each other.
    """
    other = in_mirror_m[:, list(MIRROR_JOINTS)] * in_mirror_m.new_tensor([-1.0, 1.0, 1.0])
    gap = (joints_m - joints_m[:, :1]) - (other - other[:, :1])
    return torch.linalg.vector_norm(gap, dim=-1).mean()
