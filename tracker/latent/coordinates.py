"""Rotation coordinates for densities of poses: 63-D tangents at mean rotations, and 126-D scaled 6D.

Densities of poses are stated with respect to the Haar measure of SO(3)^21, in rad^-63, so that models with
different coordinates compare. See docs/decisions.md for the measurement behind the default (tangents).
"""

from typing import Final

import torch
from torch import Tensor, nn

from kinestream.body.skeleton import NUM_FLOW_JOINTS
from kinestream.geometry.rotation import axis_angle_from_matrix, matrix_from_axis_angle, matrix_from_sixd

TANGENT_DIM: Final = 3 * NUM_FLOW_JOINTS
SIXD_DIM: Final = 6 * NUM_FLOW_JOINTS
_SMALL_ANGLE: Final = 1e-2


def _per_joint(numbers: Tensor, width: int) -> Tensor:
    """(..., J width) to (..., J, width)."""
    return numbers.reshape(*numbers.shape[:-1], numbers.shape[-1] // width, width)


def log_exp_jacobian(tangent: Tensor) -> Tensor:
    """Log-volume change of the exponential map of SO(3)^J at tangents (..., 3 J): (...,).

    The factor of one joint is 2 (1 - cos a) / a^2 with a the rotation angle.
    """
    angle_sq = _per_joint(tangent, 3).square().sum(-1)
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
            turned: Tensor = self.mean_rotations @ matrix_from_axis_angle(_per_joint(coordinates, 3))
        return turned


class SixDCoordinates(nn.Module):
    """6D coordinates with the Gram-Schmidt process inverted, 126 numbers.

    A rotation with columns (c1, c2, c3) and scales s1, s2 > 0 and shear t gives the columns a1 = s1 c1 and
    a2 = s2 c2 + t c1. Drawing log s1, log s2 and t from N(0, scale_std^2) makes 6D a set of full dimension;
    the density of the rotation is then bounded from below by that of the pair minus that of the scales.
    """

    dim: Final = SIXD_DIM

    def __init__(self, scale_std: float = 0.1) -> None:
        super().__init__()
        self.scale_std = scale_std

    def encode(self, rotations: Tensor, *, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rotations (B, 21, 3, 3), standard normal noise (B, 21, 3) or None for unit scales, to (B, 126).

        The second result (B,) is log |d(a1, a2) / d(R, s1, s2, t)| - log q(s1, s2, t): add it to the
        density of the coordinates to have (an estimate of the bound of) that of the rotations.
        """
        if noise is None:
            noise = rotations.new_zeros((*rotations.shape[:-2], 3))
        log_s1, log_s2, shear = (noise * self.scale_std).unbind(-1)
        first = log_s1.exp()[..., None] * rotations[..., 0]
        second = log_s2.exp()[..., None] * rotations[..., 1] + shear[..., None] * rotations[..., 0]
        # d a1 d a2 = s1^2 s2 . s1 s2 . dR dlog s1 dlog s2 dt, from writing both in the frame (c1, c2, c3)
        log_volume = 3.0 * log_s1 + 2.0 * log_s2
        log_q = (
            -0.5 * noise.square().sum(-1)
            - 3 * torch.log(torch.tensor(self.scale_std * (2 * torch.pi) ** 0.5)).item()
        )
        return torch.cat([first, second], -1).flatten(-2), (log_volume - log_q).sum(-1)

    def decode(self, coordinates: Tensor) -> Tensor:
        """Coordinates (B, 126) to rotations (B, 21, 3, 3) by Gram-Schmidt."""
        rotations: Tensor = matrix_from_sixd(_per_joint(coordinates, 6))
        return rotations
