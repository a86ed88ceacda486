"""Keypoint losses in plain torch. Fusing them was measured and does not pay: see docs/decisions.md."""

from kernels.keypoints.reprojection import reprojection_loss
from kernels.keypoints.soft_argmax import SoftArgmax, soft_argmax

__all__ = ["SoftArgmax", "reprojection_loss", "soft_argmax"]
