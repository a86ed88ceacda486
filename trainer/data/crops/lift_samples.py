"""Lifter samples without any picture: bodies of motion capture under random cameras, seen badly.

The errors are those a keypoint detector makes: scatter that differs by keypoint and sample, keypoints
that are lost or far off, limbs with left and right exchanged, people cut by the crop's edge. A keypoint's
confidence is the probability that it lies within ``CONFIDENCE_RADIUS`` of the truth given its scatter, itself
known only roughly, just as the keypoint head is trained to report.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import (
    FLOW_JOINT_NAMES,
    KEYPOINT_NAMES,
    MIRROR_KEYPOINTS,
    NUM_BETAS,
    NUM_KEYPOINTS,
)
from kinestream.geometry.rotation import matrix_from_axis_angle, random_rotations
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.losses.body import with_hands
from kinestream.trainer.losses.keypoints import CONFIDENCE_RADIUS

RECORDED_SHARE = 0.6
"""Share of samples with recorded errors, if given; the simulated ones add exact and strange evidence."""

UPPER_JOINTS = tuple(
    index
    for index, name in enumerate(FLOW_JOINT_NAMES)
    if not name.endswith(("hip", "knee", "ankle", "foot"))
)
_LEGS = tuple(i for i, n in enumerate(KEYPOINT_NAMES) if n.endswith(("hip", "knee", "ankle", "toe", "heel")))
_ARMS = tuple(i for i, n in enumerate(KEYPOINT_NAMES) if n.endswith(("shoulder", "elbow", "wrist")))


@dataclass(frozen=True)
class CameraRange:
    """How people stand before the camera."""

    depth_m: tuple[float, float] = (1.2, 14.0)  # range of the distance (log-uniform)
    pitch_std_rad: float = 0.35  # of the camera, around a slight downward tilt
    any_turn: float = 0.25  # share of samples with the root turned at random (lying, inverted, from above)
    margin: float = 1.3  # side of the crop over the extent of the keypoints


class LiftBatch(NamedTuple):
    """B samples; the body is exact, the evidence is not."""

    points: Tensor  # (B, 23, 2) half extents of the crop, virtual camera
    confidence: Tensor  # (B, 23)
    log_extent: Tensor  # (B,)
    rotations: Tensor  # (B, 22, 3, 3), root in the virtual camera
    translation_m: Tensor  # (B, 3)
    betas: Tensor  # (B, 10)


def lift_samples(
    poses: Tensor,
    body: BodyModel,
    count: int,
    generator: torch.Generator,
    cameras: CameraRange | None = None,
    *,
    recombine: bool = True,
    errors: KeypointErrors | None = None,
) -> LiftBatch:
    """Draw ``count`` samples from poses (N, 22, 3, 3), root in a world with y up.

    ``recombine`` exchanges upper bodies and shakes joints, for training. With recorded ``errors``,
    `RECORDED_SHARE` of the samples have those, the others simulated ones.
    """
    cameras = cameras or CameraRange()
    if recombine:
        rotations = _recombined(poses, count, generator)
    else:
        rotations = poses[torch.randint(len(poses), (count,), generator=generator)]
    rotations[:, 0] = camera_turns(count, generator, cameras) @ rotations[:, 0]
    turned = torch.rand(count, generator=generator) < cameras.any_turn
    rotations[turned, 0] = random_rotations((int(turned.sum()),), generator=generator).float()
    betas = torch.randn(count, NUM_BETAS, generator=generator) * 0.9
    _, keypoints = body.skeleton(betas, with_hands(rotations), torch.zeros(count, 3))
    near, far = cameras.depth_m
    depth = torch.exp(uniform((count,), math.log(near), math.log(far), generator))
    depth = torch.maximum(depth, 0.35 - keypoints[..., 2].amin(1))
    plane = keypoints[..., :2] / (keypoints[..., 2:] + depth[:, None, None])
    low, high = plane.amin(1), plane.amax(1)
    extent = (high - low).amax(1)
    jitter = torch.exp(0.12 * torch.randn(count, generator=generator))
    cut = torch.rand(count, generator=generator) < 0.12
    jitter = torch.where(cut, jitter * uniform((count,), 0.5, 0.85, generator), jitter)
    half = extent * cameras.margin * jitter / 2
    offset = 0.05 * torch.randn(count, 2, generator=generator) * extent[:, None]
    offset = torch.where(cut[:, None], uniform((count, 2), -0.3, 0.3, generator) * extent[:, None], offset)
    # the virtual camera looks at the centre of the crop: shift the body so that it lies on the axis
    translation = torch.cat([-((low + high) / 2 + offset) * depth[:, None], depth[:, None]], 1)
    seen = keypoints + translation[:, None]
    points = seen[..., :2] / seen[..., 2:] / half[:, None, None]
    noisy, confidence = noisy_evidence(points, generator)
    if errors is not None:
        chosen = torch.rand(count, 1, generator=generator) < RECORDED_SHARE
        recorded, probability = errors.repeated(points, generator)
        noisy = torch.where(chosen[..., None], recorded, noisy)
        confidence = torch.where(chosen, probability, confidence)
    return LiftBatch(noisy, confidence, half.log(), rotations, translation, betas)


def noisy_evidence(points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What a keypoint head might say about true points (B, 23, 2): points and confidences (B, 23)."""
    count = len(points)
    quality = torch.exp(0.5 * torch.randn(count, 1, generator=generator))
    std = 0.022 * quality * torch.exp(0.45 * torch.randn(count, NUM_KEYPOINTS, generator=generator))
    poor = torch.rand(count, NUM_KEYPOINTS, generator=generator) < 0.08 * quality
    std = torch.where(poor, uniform(std.shape, 0.06, 0.3, generator), std)
    lost = torch.rand(count, NUM_KEYPOINTS, generator=generator) < 0.04
    lost |= (torch.rand(count, 1, generator=generator) < 0.08) & _half_body(count, generator)
    std = torch.where(lost, 0.5, std)
    noisy = points + std[..., None] * torch.randn(points.shape, generator=generator)
    noisy, exchanged = _exchanged(noisy, generator)
    outside = (points.abs() >= 1).any(-1)
    noisy = torch.where(outside[..., None], noisy.clamp(-0.95, 0.95), noisy)
    reported = std * torch.exp(0.25 * torch.randn(std.shape, generator=generator))
    confidence = 1 - torch.exp(-0.5 * (CONFIDENCE_RADIUS / reported) ** 2)
    confidence = torch.where(outside, uniform(std.shape, 0.0, 0.15, generator), confidence)
    doubt = uniform(std.shape, 0.3, 0.9, generator)
    return noisy, torch.where(exchanged, confidence * doubt, confidence)


def _recombined(poses: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Poses drawn at random, some with another pose's upper body, some shaken."""
    first = torch.randint(len(poses), (count,), generator=generator)
    second = torch.randint(len(poses), (count,), generator=generator)
    rotations = poses[first].clone()
    mixed = torch.rand(count, generator=generator) < 0.35
    upper = torch.tensor(UPPER_JOINTS) + 1
    rotations[:, upper] = torch.where(
        mixed[:, None, None, None], poses[second][:, upper], rotations[:, upper]
    )
    size = 0.15 * torch.rand(count, 1, 1, generator=generator)
    shake = matrix_from_axis_angle(size * torch.randn(count, len(FLOW_JOINT_NAMES), 3, generator=generator))
    rotations[:, 1:] = rotations[:, 1:] @ shake
    return rotations


def camera_turns(count: int, generator: torch.Generator, cameras: CameraRange) -> Tensor:
    """Rotations (B, 3, 3) from a world with y up to cameras all around."""
    yaw = uniform((count,), -math.pi, math.pi, generator)
    pitch = (0.15 + cameras.pitch_std_rad * torch.randn(count, generator=generator)).clamp(-0.9, 1.5)
    roll = 0.12 * torch.randn(count, generator=generator)
    zero = torch.zeros(count)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    about_x = matrix_from_axis_angle(torch.stack([pitch, zero, zero], 1))
    about_y = matrix_from_axis_angle(torch.stack([zero, yaw, zero], 1))
    about_z = matrix_from_axis_angle(torch.stack([zero, zero, roll], 1))
    return about_z @ about_x @ upright @ about_y


def _exchanged(points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Exchange left and right of legs, arms or everything in some samples; also says where."""
    partner = points[:, list(MIRROR_KEYPOINTS)]
    swap = torch.zeros(points.shape[:2], dtype=torch.bool)
    for members, rate in ((_LEGS, 0.05), (_ARMS, 0.04), (tuple(range(NUM_KEYPOINTS)), 0.02)):
        chosen = torch.rand(len(points), generator=generator) < rate
        swap[:, list(members)] ^= chosen[:, None]
    return torch.where(swap[..., None], partner, points), swap


def _half_body(count: int, generator: torch.Generator) -> Tensor:
    """Masks (B, 23) of the legs or of the arms, as when a table or a wall hides them."""
    legs = torch.zeros(NUM_KEYPOINTS, dtype=torch.bool)
    legs[list(_LEGS)] = True
    arms = torch.zeros(NUM_KEYPOINTS, dtype=torch.bool)
    arms[list(_ARMS)] = True
    return torch.where(torch.rand(count, 1, generator=generator) < 0.7, legs, arms)


def uniform(
    shape: tuple[int, ...] | torch.Size, low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Even random numbers of a shape, from low to high."""
    return low + (high - low) * torch.rand(shape, generator=generator)
