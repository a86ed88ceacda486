"""Augmentation of poses for priors: limbs of other poses, spread, noise. One generator draws all."""

import torch
from torch import Tensor

from kinestream.body.skeleton import FLOW_JOINT_NAMES
from kinestream.geometry.rotation import matrix_from_axis_angle

LIMB_GROUPS: tuple[tuple[str, ...], ...] = (
    ("left_hip", "left_knee", "left_ankle", "left_foot"),
    ("right_hip", "right_knee", "right_ankle", "right_foot"),
    ("spine1", "spine2", "spine3", "neck", "head"),
    ("left_collar", "left_shoulder", "left_elbow", "left_wrist"),
    ("right_collar", "right_shoulder", "right_elbow", "right_wrist"),
)
"""Legs, torso with head, and arms: what moves as one."""


def perturb(rotations: Tensor, noise_rad: float, generator: torch.Generator) -> Tensor:
    """Poses (B, 21, 3, 3) turned by N(0, noise_rad^2) rotation vectors in each joint's own frame."""
    vectors = torch.randn(*rotations.shape[:-2], 3, generator=generator) * noise_rad
    return rotations @ matrix_from_axis_angle(vectors)


def swap_limbs(rotations: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Give each limb group of each pose (B, 21, 3, 3), with a probability, the rotations of another pose.

    Four subjects' dances do not show every combination of arm and leg poses; this teaches that they are
    possible.
    """
    result = rotations.clone()
    for names in LIMB_GROUPS:
        joints = [FLOW_JOINT_NAMES.index(name) for name in names]
        swapped = torch.rand(len(rotations), generator=generator) < probability
        other = rotations[torch.randperm(len(rotations), generator=generator)]
        donor = torch.where(swapped[:, None, None, None], other[:, joints], rotations[:, joints])
        result[:, joints] = donor
    return result


def spread(rotations: Tensor, factor: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Turn poses (B, 21, 3, 3) by correlated noise: up to `amount` standard deviations of the poses
    themselves.

    factor (63, 63) is a Cholesky factor of the covariance of the tangent coordinates. Joints that do not move
    stay; joints that move a lot are smoothed, which stands for people that the captures do not contain.
    """
    scale = amount * torch.rand(len(rotations), 1, generator=generator)
    vectors = scale * (torch.randn(len(rotations), len(factor), generator=generator) @ factor.mT)
    turned: Tensor = rotations @ matrix_from_axis_angle(vectors.reshape(len(vectors), -1, 3))
    return turned
