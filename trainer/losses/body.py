"""Losses on the state of the body: latent pose, root, pelvis and shape by likelihood; joints by distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from tracker.body.model import BodyModel, BodyOutput
from tracker.body.rotation import geodesic_distance, matrix_from_sixd
from tracker.body.skeleton import NUM_JOINTS
from tracker.regress.lifter import BodyState

Z_LIMIT = 5.0
"""Latents of training poses are cut at so many standard deviations: outliers of the flow teach nothing."""

BETA_NLL = 0.5
"""Share of the variance that weights each squared error (Seitzer et al. 2022): hard ones still teach."""

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

    latent: float = 0.02
    root: float = 0.2
    pelvis: float = 0.1
    betas: float = 0.01
    rotation: float = 0.5
    joints: float = 5.0
    reprojection: float = 1.0


class BodyTarget:
    """Exact bodies in the virtual camera, with what follows from them.

    ``posed_rows`` limits joints and keypoints, which cost most, to the first rows of the batch.
    """

    def __init__(
        self,
        flow: PoseLatent,
        body: BodyModel,
        *,
        rotations: Tensor,
        translation_m: Tensor,
        betas: Tensor,
        log_extent: Tensor,
        posed_rows: int | None = None,
    ) -> None:
        """Take rotations (B, 22, 3, 3), translation_m (B, 3), betas (B, 10) and log_extent (B,)."""
        rows = slice(posed_rows)
        with torch.no_grad():
            self.z = flow.encode(rotations[:, 1:]).clamp(-Z_LIMIT, Z_LIMIT)
            self.joints_m, self.keypoints_m = body.skeleton(
                betas[rows], with_hands(rotations[rows]), translation_m[rows]
            )
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
        posed = slice(len(target.joints_m))
        joints, keypoints, _ = self.posed(
            BodyState(*[field[posed] for field in state]), root[posed], target.log_extent[posed]
        )
        relative = (joints - joints[:, :1]) - (target.joints_m - target.joints_m[:, :1])
        angle = geodesic_distance(root, target.rotations[:, 0])[:, None]
        terms = {
            "latent": beta_nll(state.z - target.z, state.z_log_std),
            "root": beta_nll(angle, state.root_log_std),
            "pelvis": beta_nll(state.pelvis - target.pelvis, state.pelvis_log_std),
            "betas": beta_nll(state.betas - target.betas, state.betas_log_std),
            "rotation": (root - target.rotations[:, 0]).square().sum((1, 2)).clamp_max(8.0).mean(),
            "joints": torch.linalg.vector_norm(relative, dim=-1).mean(),
            "reprojection": self._reprojection(keypoints, target),
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
        log_extent = target.log_extent[: len(keypoints_m)]
        guess, true = (in_half_extents(points, log_extent) for points in (keypoints_m, target.keypoints_m))
        distance: Tensor = torch.linalg.vector_norm(guess - true, dim=-1)
        return distance.clamp_max(2.0).mean()


def beta_nll(error: Tensor, log_std: Tensor) -> Tensor:
    """Gaussian negative log-likelihood (without constant), each weighted by std^(2 BETA_NLL); its mean."""
    variance = (2 * log_std).exp()
    losses = 0.5 * error.square() / variance + log_std
    return (losses * variance.detach() ** BETA_NLL).mean()


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
