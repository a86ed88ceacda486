"""Fit body, root and camera distance to 2D keypoints, in the latent space of a pose prior.

    fitted = fit_keypoints(flow, body, keypoints_px, confidence, focal_px=300.0, center_px=center)
    fitted.latent, fitted.rotations, fitted.translation_m, fitted.betas, fitted.mean_error

The energy of one person is sum_k c_k rho(|r_k|) + 1/2 |z|^2 + 1/2 |betas|^2, where r_k is the reprojection
error in units of `sigma` times the person's size and rho the Cauchy loss, so that it reads as a negative
log-posterior. Several root orientations are tried; all persons and starts run as one batch of Adam
(SMPLify, ECCV 2016, with the latent prior of Zanfir et al., ECCV 2020, in place of a mixture on angles).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.prior.landmarks import LSP_LANDMARKS, Landmarks
from kinestream.latent.robust import cauchy_loss


class LatentPrior(Protocol):
    """A prior with latents that are standard normal: the flow, or for instance a variational autoencoder."""

    @property
    def dim(self) -> int:
        """Dimension D of the latents."""

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, D) to poses (B, 21, 3, 3)."""


@dataclass(frozen=True)
class FitConfig:
    """How to fit.

    Attributes:
        yaws: starts, evenly spaced turns about the body's own long axis.
        iterations: of Adam, for the starts; the best two go on for as many again.
        learning_rate: of Adam on latents, root rotation (rad) and log-depth.
        sigma: standard deviation of labels, as a part of the person's size in the picture.
        robust: residual, in sigmas, beyond which the Cauchy loss flattens.
        prior_weight, shape_weight: factors of 1/2 |z|^2 and 1/2 |betas|^2.
    """

    yaws: int = 6
    iterations: int = 90
    learning_rate: float = 0.06
    sigma: float = 0.02
    robust: float = 3.0
    prior_weight: float = 1.0
    shape_weight: float = 1.0


@dataclass(frozen=True, repr=False)
class Fit:
    """Best fit of each of B persons.

    Attributes:
        latent: (B, D).
        rotations: (B, 24, 3, 3), the root's in the camera frame (OpenCV axes).
        translation_m: (B, 3) pelvis in the camera frame.
        betas: (B, 10).
        points_px: (B, K, 2) fitted landmarks in the picture.
        mean_error: (B,) confidence-weighted mean reprojection error, as a part of the person's size.
        energy: (B,).
    """

    latent: Tensor
    rotations: Tensor
    translation_m: Tensor
    betas: Tensor
    points_px: Tensor
    mean_error: Tensor
    energy: Tensor

    def __repr__(self) -> str:
        """The shapes of all fields."""
        return f"Fit({', '.join(f'{name}={tuple(value.shape)}' for name, value in vars(self).items())})"


def person_size_px(keypoints_px: Tensor, confidence: Tensor) -> Tensor:
    """Longer side (B,) of the box around the labelled keypoints (B, K, 2), in pixels."""
    seen = (confidence > 0)[..., None]
    low = torch.where(seen, keypoints_px, torch.inf).amin(-2)
    high = torch.where(seen, keypoints_px, -torch.inf).amax(-2)
    return (high - low).amax(-1)


@dataclass
class _State:
    """Parameters of N problems; all optimised together."""

    latent: Tensor
    turn: Tensor  # (N, 3) rotation vector on top of `start`
    place: Tensor  # (N, 3): x / z, y / z, log z
    betas: Tensor
    start: Tensor  # (N, 3, 3)

    def parameters(self) -> list[Tensor]:
        return [self.latent, self.turn, self.place, self.betas]

    def select(self, index: Tensor) -> "_State":
        chosen = [value.detach()[index].clone() for value in (*self.parameters(), self.start)]
        return _State(*chosen)


class _Problem:
    """Energy of a batch of fits."""

    def __init__(
        self,
        prior: LatentPrior,
        body: BodyModel,
        landmarks: Landmarks,
        config: FitConfig,
        keypoints_px: Tensor,
        confidence: Tensor,
        focal_px: Tensor,
        center_px: Tensor,
    ) -> None:
        self.prior, self.body, self.landmarks, self.config = prior, body, landmarks, config
        self.confidence = confidence
        self.size = person_size_px(keypoints_px, confidence)
        # normalised image plane, so that the camera has focal length 1
        self.focal = focal_px
        self.center = center_px
        self.target = (keypoints_px - center_px[:, None]) / focal_px[:, None, None]

    def select(self, index: Tensor) -> "_Problem":
        chosen = object.__new__(_Problem)
        chosen.__dict__.update(self.__dict__)
        for name in ("confidence", "size", "focal", "center", "target"):
            setattr(chosen, name, getattr(self, name)[index])
        return chosen

    def pose(self, state: _State) -> tuple[Tensor, Tensor]:
        """Rotations (N, 24, 3, 3) and translation (N, 3)."""
        root = matrix_from_axis_angle(state.turn) @ state.start
        flow = self.prior.decode(state.latent)
        hands = torch.eye(3, dtype=root.dtype, device=root.device).expand(len(root), 2, 3, 3)
        depth = state.place[:, 2:].exp()
        return torch.cat([root[:, None], flow, hands], 1), torch.cat([state.place[:, :2] * depth, depth], 1)

    def project(self, state: _State) -> Tensor:
        """Landmarks (N, K, 2) in the normalised image plane."""
        rotations, translation = self.pose(state)
        points = self.landmarks.place(self.body, state.betas, rotations, translation)
        return points[..., :2] / points[..., 2:].clamp_min(0.1)

    def residual(self, state: _State) -> Tensor:
        """Distances (N, K) as parts of the person's size."""
        squared = (self.project(state) - self.target).square().sum(-1) + 1e-12
        return squared.sqrt() * (self.focal / self.size)[:, None]

    def energy(self, state: _State) -> Tensor:
        """Energies (N,)."""
        config = self.config
        r_sq = (self.residual(state) / config.sigma).square()
        data = (self.confidence * cauchy_loss(r_sq, config.robust)).sum(-1)
        prior = 0.5 * config.prior_weight * state.latent.square().sum(-1)
        return data + prior + 0.5 * config.shape_weight * state.betas.square().sum(-1)


def _rate(progress: float) -> float:
    """Factor of the learning rate: a short rise, then a cosine to zero."""
    return min(1.0, 10.0 * progress + 0.1) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _descend(problem: _Problem, state: _State, iterations: int) -> Tensor:
    parameters = state.parameters()
    for parameter in parameters:
        parameter.requires_grad_(True)
    rate = problem.config.learning_rate
    optimizer = torch.optim.Adam(
        [
            {"params": [state.latent, state.turn], "lr": rate},
            {"params": [state.place, state.betas], "lr": 0.5 * rate},
        ],
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step / iterations))
    with torch.enable_grad():
        for _ in range(iterations):
            gradients = torch.autograd.grad(problem.energy(state).sum(), parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return problem.energy(state)


def _starts(problem: _Problem, yaws: int) -> _State:
    """Root orientations about the torso's direction in the picture, at the depth that its size implies.

    Problems come out as (B * yaws), the starts of one person together.
    """
    names = problem.landmarks.names
    count = len(problem.target)
    upright = problem.target.new_tensor([0.0, -1.0]).expand(count, 2)
    if {"left_hip", "right_hip", "neck"} <= set(names):
        hips = [names.index("left_hip"), names.index("right_hip")]
        neck = names.index("neck")
        seen = (problem.confidence[:, [*hips, neck]] > 0).all(-1)
        torso = problem.target[:, neck] - problem.target[:, hips].mean(1)
        upright = torch.where(seen[:, None], torso, upright)
    roll = torch.atan2(upright[:, 0], -upright[:, 1]).repeat_interleave(yaws)
    yaw = torch.arange(yaws, dtype=roll.dtype, device=roll.device).repeat(count) * (2 * math.pi / yaws)
    facing = torch.diag(roll.new_tensor([1.0, -1.0, -1.0]))
    zeros = torch.zeros_like(roll)
    start = (
        matrix_from_axis_angle(torch.stack([zeros, zeros, roll], -1))
        @ facing
        @ matrix_from_axis_angle(torch.stack([zeros, yaw, zeros], -1))
    )
    seen = problem.confidence > 0
    middle = (problem.target * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
    # the ordinary person is about 1.6 m between the extreme landmarks, less when curled up
    depth = 1.5 * problem.focal / problem.size
    place = torch.cat([middle, depth.log()[:, None]], 1).repeat_interleave(yaws, 0)
    latent = roll.new_zeros(len(roll), problem.prior.dim)
    return _State(latent, torch.zeros_like(place), place, roll.new_zeros(len(roll), 10), start)


def fit_keypoints(
    prior: LatentPrior,
    body: BodyModel,
    keypoints_px: Tensor,
    confidence: Tensor,
    *,
    focal_px: Tensor | float,
    center_px: Tensor,
    landmarks: Landmarks = LSP_LANDMARKS,
    config: FitConfig | None = None,
) -> Fit:
    """Fit B persons to 2D keypoints.

    Args:
        prior: the flow (the light one is fast), or anything with its `decode` and `dim`.
        body: whose shape and skeleton are fitted.
        keypoints_px: (B, K, 2), in the order of landmarks.
        confidence: (B, K) weights >= 0; 0 where a keypoint is not labelled.
        focal_px: (B,) or a number.
        center_px: (B, 2) or (2,) principal point.
        landmarks: what the keypoints are.
        config: settings; the defaults fit sports photos.

    Raises:
        ValueError: for wrong shapes, keypoints that are not finite, or persons with fewer than three
            keypoints.
    """
    config = config or FitConfig()
    count = len(keypoints_px)
    if keypoints_px.shape != (count, len(landmarks), 2) or confidence.shape != keypoints_px.shape[:2]:
        raise ValueError(
            f"expected keypoints (B, {len(landmarks)}, 2) and confidence (B, {len(landmarks)}); "
            f"found {tuple(keypoints_px.shape)} and {tuple(confidence.shape)}"
        )
    if not torch.isfinite(keypoints_px[confidence > 0]).all():
        raise ValueError("keypoints with a confidence above 0 must be finite")
    few = ((confidence > 0).sum(1) < 3).nonzero().flatten().tolist()
    if few:
        raise ValueError(f"persons {few} have fewer than three keypoints: nothing can be fitted to them")
    keypoints_px = torch.where((confidence > 0)[..., None], keypoints_px, 0.0).float()
    focal = torch.as_tensor(focal_px, dtype=torch.float32).expand(count)
    center = center_px.float().expand(count, 2)
    problem = _Problem(prior, body, landmarks, config, keypoints_px, confidence.float(), focal, center)

    state = _starts(problem, config.yaws)
    energy = _descend(
        problem.select(torch.arange(count).repeat_interleave(config.yaws)), state, config.iterations
    )
    kept = min(2, config.yaws)
    best = energy.view(count, config.yaws).topk(kept, dim=1, largest=False).indices
    index = (best + torch.arange(count)[:, None] * config.yaws).flatten()
    state = state.select(index)
    energy = _descend(problem.select(torch.arange(count).repeat_interleave(kept)), state, config.iterations)
    winner = energy.view(count, kept).argmin(1) + torch.arange(count) * kept
    state = state.select(winner)

    with torch.no_grad():
        rotations, translation = problem.pose(state)
        residual = problem.residual(state)
        weights = problem.confidence
        points_px = problem.project(state) * focal[:, None, None] + center[:, None]
        return Fit(
            latent=state.latent,
            rotations=rotations,
            translation_m=translation,
            betas=state.betas,
            points_px=points_px,
            mean_error=(residual * weights).sum(1) / weights.sum(1),
            energy=problem.energy(state),
        )
