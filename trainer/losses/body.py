"""Losses on the state of the body: means by the distance of joints above all, deviations by likelihood.

A likelihood of the latent pose is a poor teacher of its mean: a lifter trained by it alone stays far from
what keypoints tell (docs/decisions.md). So the deviations learn how far off the means are, and the means do
not feel them.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from kinestream.body.model import BodyModel, BodyOutput
from kinestream.body.skeleton import NUM_JOINTS
from kinestream.geometry.rotation import geodesic_distance, matrix_from_sixd
from kinestream.networks.interface import BodyState

Z_LIMIT = 5.0
"""Latents of training poses are cut at so many standard deviations: outliers of the flow teach nothing."""

_MIN_DEPTH_M = 0.2


class PoseLatent(Protocol):
    """The part of a pose flow that training needs."""

    def encode(self, rotations: Tensor) -> Tensor:
        """Rotations (B, 21, 3, 3) -> z (B, D)."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Inverse of encode."""
        ...


@dataclass(frozen=True)
class BodyLossWeights:
    """Weights of the terms; distances are in metres (joints) and half extents of the crop (reprojection)."""

    joints: float = 10.0
    root: float = 0.5
    reprojection: float = 1.0
    pelvis: float = 1.0
    latent: float = 0.02
    betas: float = 0.02
    deviations: float = 0.05


class BodyTarget:
    """Exact bodies in the virtual camera, with what follows from them."""

    def __init__(
        self,
        flow: PoseLatent,
        body: BodyModel,
        *,
        rotations: Tensor,
        translation_m: Tensor,
        betas: Tensor,
        log_extent: Tensor,
    ) -> None:
        """Take rotations (B, 22, 3, 3), translation_m (B, 3), betas (B, 10) and log_extent (B,)."""
        with torch.no_grad():
            self.z = flow.encode(rotations[:, 1:]).clamp(-Z_LIMIT, Z_LIMIT)
            self.joints_m, self.keypoints_m = body.skeleton(betas, with_hands(rotations), translation_m)
            self.pelvis = pelvis_code(translation_m, log_extent)
        self.rotations, self.translation_m, self.betas = rotations, translation_m, betas
        self.log_extent = log_extent


class BodyLoss(nn.Module):
    """The sum of all terms, and each by name for the log."""

    def __init__(self, flow: PoseLatent, body: BodyModel, weights: BodyLossWeights | None = None) -> None:
        super().__init__()
        self._flow, self.body, self._weights = flow, body, weights or BodyLossWeights()

    def forward(self, state: BodyState, target: BodyTarget) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of ``state`` against exact bodies; a scalar, and its unweighted terms."""
        root = matrix_from_sixd(state.root_sixd)
        joints, keypoints, _ = self.posed(state, root, target.log_extent)
        relative = (joints - joints[:, :1]) - (target.joints_m - target.joints_m[:, :1])
        angle = geodesic_distance(root, target.rotations[:, 0])[:, None]
        latent, pelvis = state.z - target.z, state.pelvis - target.pelvis
        betas = state.betas - target.betas
        deviations = (
            deviation_nll(latent, state.z_log_std)
            + deviation_nll(angle, state.root_log_std)
            + deviation_nll(pelvis, state.pelvis_log_std)
            + deviation_nll(betas, state.betas_log_std)
        )
        terms = {
            "joints": torch.linalg.vector_norm(relative, dim=-1).mean(),
            "root": (root - target.rotations[:, 0]).square().sum((1, 2)).mean(),
            "reprojection": self._reprojection(keypoints, target),
            "pelvis": pelvis.abs().mean(),
            "latent": latent.square().mean(),
            "betas": betas.square().mean(),
            "deviations": deviations,
        }
        total = torch.stack([getattr(self._weights, name) * value for name, value in terms.items()]).sum()
        return total, {name: value.detach() for name, value in terms.items()}

    def posed(self, state: BodyState, root: Tensor, log_extent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Joints (B, 24, 3), keypoints (B, 23, 3) and pelvis (B, 3) of a state, in the virtual camera."""
        rotations = torch.cat([root[:, None], self._flow.decode(state.z)], 1)
        pelvis_m = pelvis_from_code(state.pelvis, log_extent)
        joints, keypoints = self.body.skeleton(state.betas, with_hands(rotations), pelvis_m)
        return joints, keypoints, pelvis_m

    def surface(self, state: BodyState, root: Tensor, log_extent: Tensor) -> BodyOutput:
        """Vertices, joints and keypoints of a state, in the virtual camera."""
        rotations = torch.cat([root[:, None], self._flow.decode(state.z)], 1)
        pelvis_m = pelvis_from_code(state.pelvis, log_extent)
        posed: BodyOutput = self.body(state.betas, with_hands(rotations), pelvis_m)
        return posed

    def _reprojection(self, keypoints_m: Tensor, target: BodyTarget) -> Tensor:
        guess, true = (
            in_half_extents(points, target.log_extent) for points in (keypoints_m, target.keypoints_m)
        )
        distance: Tensor = torch.linalg.vector_norm(guess - true, dim=-1)
        return distance.clamp_max(2.0).mean()


def deviation_nll(error: Tensor, log_std: Tensor) -> Tensor:
    """Gaussian negative log-likelihood (without constant) of errors that are taken as given; its mean."""
    return (0.5 * error.detach().square() / (2 * log_std).exp() + log_std).mean()


def with_hands(rotations: Tensor) -> Tensor:
    """(B, 22, 3, 3) -> (B, 24, 3, 3), the two hands at rest."""
    rest = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    count = NUM_JOINTS - rotations.shape[1]
    return torch.cat([rotations, rest.expand(rotations.shape[0], count, 3, 3)], 1)


def pelvis_code(translation_m: Tensor, log_extent: Tensor) -> Tensor:
    """Pelvis (B, 3) in the virtual camera -> x / (z s), y / (z s), log(z s)."""
    depth = translation_m[:, 2:].clamp_min(_MIN_DEPTH_M)
    plane = translation_m[:, :2] / depth / log_extent.exp()[:, None]
    return torch.cat([plane, depth.log() + log_extent[:, None]], 1)


def pelvis_from_code(code: Tensor, log_extent: Tensor) -> Tensor:
    """Inverse of :func:`pelvis_code`."""
    depth = (code[:, 2:].clamp(-4.0, 5.0) - log_extent[:, None]).exp()
    return torch.cat([code[:, :2] * log_extent.exp()[:, None] * depth, depth], 1)


def in_half_extents(points_m: Tensor, log_extent: Tensor) -> Tensor:
    """Points (B, N, 3) in the virtual camera -> its plane (B, N, 2) in half extents of the crop."""
    return points_m[..., :2] / points_m[..., 2:].clamp_min(_MIN_DEPTH_M) / log_extent.exp()[:, None, None]
