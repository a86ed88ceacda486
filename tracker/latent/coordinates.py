"""Rotation coordinates for densities of poses: 63-D tangents at mean rotations (why: docs/decisions.md).

Densities of poses are stated with respect to the Haar measure of SO(3)^21, in rad^-63, so that models with
different coordinates compare.
"""

from typing import Final

import torch
from torch import Tensor, nn

from kinestream.body.skeleton import NUM_FLOW_JOINTS
from kinestream.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle

TANGENT_DIM: Final = 3 * NUM_FLOW_JOINTS
_SMALL_ANGLE: Final = 1e-2


def log_exp_jacobian(tangent: Tensor) -> Tensor:
    """Log-volume change of the exponential map of SO(3)^J at tangents (..., 3 J): (...,).

    The factor of one joint is 2 (1 - cos a) / a^2 with a the rotation angle.
    """
    angle_sq = tangent.reshape(*tangent.shape[:-1], tangent.shape[-1] // 3, 3).square().sum(-1)
    small = angle_sq < _SMALL_ANGLE
    safe = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    # sin^2(a / 2) is positive but at full turns, where the density of a single branch vanishes anyway
    closed = torch.log((4.0 * torch.sin(0.5 * safe.sqrt()).square() / safe).clamp_min(1e-12))
    series = -angle_sq / 12.0 - angle_sq.square() / 1440.0
    return torch.where(small, series, closed).sum(-1)


class TangentCoordinates(nn.Module):
    """Rotation vectors relative to each joint's mean rotation: x_j = log(M_j^T R_j), 63 numbers.

    A bijection but for half turns away from the mean, which no anatomical joint makes.
    """

    dim: Final = TANGENT_DIM

    def __init__(self, mean_rotations: Tensor | None = None) -> None:
        super().__init__()
        if mean_rotations is None:
            mean_rotations = torch.eye(3).expand(NUM_FLOW_JOINTS, 3, 3).clone()
        self.mean_rotations: Tensor
        self.register_buffer("mean_rotations", mean_rotations)

    def encode(self, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations (B, 21, 3, 3) to coordinates (B, 63) and the log-volume change (B,)."""
        with torch.autocast(rotations.device.type, enabled=False):
            tangent = axis_angle_from_matrix(self.mean_rotations.mT @ rotations).flatten(-2)
        return tangent, -log_exp_jacobian(tangent)

    def decode(self, coordinates: Tensor) -> Tensor:
        """Coordinates (B, 63) to rotations (B, 21, 3, 3)."""
        with torch.autocast(coordinates.device.type, enabled=False):
            vectors = coordinates.reshape(*coordinates.shape[:-1], NUM_FLOW_JOINTS, 3)
            turned: Tensor = self.mean_rotations @ matrix_from_axis_angle(vectors)
        return turned
