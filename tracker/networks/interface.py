"""What defines detector and regressor and what they return; loads no torch, for a start without it.

Fields hold tensors inside of a network and in training, arrays where an engine has run it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

BACKBONES: Final[dict[str, float]] = {"tiny": 0.25, "medium": 1.0, "large": 1.75}
"""Widths relative to MobileNetV2's; ``tiny`` serves the tests, ``large`` off-line work."""


@dataclass(frozen=True)
class DetectorConfig:
    """What defines a detector; stored with its weights.

    Attributes:
        backbone: a name in ``BACKBONES``.
        frame_px: longer side of the letterboxed frame, a multiple of 32.
    """

    backbone: str = "medium"
    frame_px: int = 256

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, found {self.backbone!r}")
        if self.frame_px < 64 or self.frame_px % 32:
            raise ValueError(f"frame_px must be a multiple of 32 from 64 on, found {self.frame_px}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class DetectorOutput(NamedTuple):
    """Maps over the cells; cell (i, j) has its centre at pixel (4 j + 1.5, 4 i + 1.5)."""

    center_logit: Tensor  # (B, h, w) whether a person has its centre here
    boxes_xyxy_px: Tensor  # (B, 4, h, w) in the letterboxed frame, meaningful near centres


@dataclass(frozen=True)
class RegressorConfig:
    """What defines a regressor; stored with its weights.

    Attributes:
        latent_size: of the pose flow the network was trained with.
        backbone: a name in ``BACKBONES``.
        crop_px: side of the input crop, a multiple of 32.
        crop_margin: side of the crop over the longer side of the person's box.
        keypoint_std: deviation of keypoints at full confidence, as a share of the box's longer side.
        keypoint_slope: growth of its logarithm per unit of confidence that is missing.
    """

    latent_size: int
    backbone: str = "medium"
    crop_px: int = 192
    crop_margin: float = 1.25
    keypoint_std: float = 0.010
    keypoint_slope: float = 4.2

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, found {self.backbone!r}")
        if self.crop_px < 64 or self.crop_px % 32:
            raise ValueError(f"crop_px must be a multiple of 32 and at least 64, found {self.crop_px}")
        if self.latent_size < 1 or self.crop_margin < 1:
            raise ValueError(f"latent_size must be positive and crop_margin at least 1, found {self}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class BodyState(NamedTuple):
    """Estimate of one body with the logarithm of its standard deviations, in the crop's virtual camera."""

    z: Tensor  # (B, D) latent pose
    root_sixd: Tensor  # (B, 6) first two columns of the root rotation, not yet orthonormal
    pelvis: Tensor  # (B, 3) x / (z s), y / (z s), log(z s) with s the half extent of the crop
    betas: Tensor  # (B, 10)
    z_log_std: Tensor  # (B, D)
    root_log_std: Tensor  # (B, 1) radians
    pelvis_log_std: Tensor  # (B, 3)
    betas_log_std: Tensor  # (B, 10)


class Inference(NamedTuple):
    """What the tracker reads of a regressor; points are crop coordinates, -1..1 from edge to edge."""

    points: Tensor  # (B, 23, 2)
    confidence_logit: Tensor  # (B, 23)
    covariance: Tensor  # (B, 23, 3) xx, xy, yy of the heat maps, in crop coordinates
    presence_logit: Tensor  # (B,)
    state: BodyState


class RegressorOutput(NamedTuple):
    """What a regressor returns in training."""

    heatmaps: Tensor  # (B, 23, S/4, S/4) logits
    parts: Tensor  # (B, 16, S/4, S/4) logits, 0 = background
    points: Tensor  # (B, 23, 2) as in `Inference`, and so the others
    confidence_logit: Tensor  # (B, 23)
    covariance: Tensor  # (B, 23, 3)
    presence_logit: Tensor  # (B,)
    state: BodyState
