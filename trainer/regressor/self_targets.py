"""Self-supervision: what the averaged network sees in a clean view is the target for the augmented one."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinestream.body.skeleton import MIRROR_KEYPOINTS, MIRROR_PARTS
from kinestream.networks.interface import RegressorOutput
from kinestream.trainer.data.crops.crop_sample import PART_UNKNOWN, CropBatch
from kinestream.trainer.data.photos.unlabelled import ViewBatch


@dataclass(frozen=True)
class SelfThresholds:
    """Below these probabilities an answer is no target."""

    keypoint: float = 0.5
    part: float = 0.8
    presence: float = 0.5


@torch.no_grad()
def self_targets(average: nn.Module, views: ViewBatch, thresholds: SelfThresholds) -> CropBatch:
    """The augmented views, labelled by the averaged network's answers on the clean ones.

    Keypoints are weighted by their confidence; those carried out of the view are known to be nowhere in it.
    Crops in which the average sees nobody teach nothing.
    """
    average.eval()
    clean = views.clean
    seen: RegressorOutput = average(clean.images, clean.to_virtual, clean.log_extent)
    sure = torch.sigmoid(seen.presence_logit) >= thresholds.presence
    points = seen.points @ views.from_clean[:, :, :2].transpose(1, 2) + views.from_clean[:, None, :, 2]
    confidence = torch.sigmoid(seen.confidence_logit)
    order = torch.tensor(MIRROR_KEYPOINTS, device=points.device)
    mirrored = views.mirrored[:, None]
    points = torch.where(mirrored[..., None], points[:, order], points)
    confidence = torch.where(mirrored, confidence[:, order], confidence)
    known = (confidence >= thresholds.keypoint) & sure[:, None]
    inside = (points.abs() < 1).all(-1)
    weight = confidence * (known & inside)
    parts = _carried_parts(seen.parts.float().softmax(1), views, thresholds.part)
    return views.augmented._replace(
        keypoints=torch.cat([points, weight[..., None]], -1).float(),
        known=known,
        parts=torch.where(sure[:, None, None], parts, PART_UNKNOWN),
    )


def _carried_parts(share: Tensor, views: ViewBatch, threshold: float) -> Tensor:
    """Part labels (B, h, w) of the augmented view from shares (B, 16, h, w) in the clean one."""
    order = torch.tensor([0, *[1 + part for part in MIRROR_PARTS]], device=share.device)
    share = torch.where(views.mirrored[:, None, None, None], share[:, order], share)
    to_clean = torch.linalg.inv(_square(views.from_clean))[:, :2]
    grid = functional.affine_grid(to_clean, list(share.shape), align_corners=False)
    # outside of the clean view every share is 0, so nothing is known there
    carried = functional.grid_sample(share, grid, align_corners=False)
    best, label = carried.max(1)
    return torch.where(best >= threshold, label, PART_UNKNOWN)


def _square(matrix: Tensor) -> Tensor:
    last = matrix.new_tensor([0.0, 0.0, 1.0]).expand(len(matrix), 1, 3)
    return torch.cat([matrix, last], 1)


def joined(batch: CropBatch, more: CropBatch) -> CropBatch:
    """Both batches in one."""
    return CropBatch(*[torch.cat([a, b]) for a, b in zip(batch, more, strict=True)])
