"""One training crop with whatever is known about it, and batches of them."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kinestream.body.skeleton import NUM_BETAS, NUM_KEYPOINTS
from kinestream.regress.preprocessing import virtual_view
from kinestream.trainer.data.photos.image_augment import turn_of
from kinestream.trainer.data.weighted import Weighted

Floats = npt.NDArray[np.float32]

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)

PART_UNKNOWN = 255
"""Part label of a pixel about which nothing is known."""
PART_PERSON = 254
"""Part label of a pixel of the person whose part is not known."""
PART_STRIDE = 4
"""Crop pixels per pixel of the part map, as the network's heads have it."""
FLOW_ROTATIONS = 21

_DEFAULT_FOCAL = 4.0
"""Intrinsics in crop coordinates for photos whose camera is not known: a crop of about 28 degrees."""


@dataclass(frozen=True)
class BodyLabel:
    """Exact state of the body, in the camera that sees the crop."""

    intrinsics: Floats  # (4,) fx, fy, cx, cy in crop coordinates (-1..1)
    rotations: Floats  # (22, 3, 3) root in the camera frame, then the 21 flow joints, local
    translation_m: Floats  # (3,) pelvis in the camera frame
    betas: Floats  # (10,)


def body_in_crop(
    matrix: npt.NDArray[np.float64],
    crop_px: int,
    *,
    camera: npt.ArrayLike,
    rotations: npt.ArrayLike,
    translation_m: npt.ArrayLike,
    betas: npt.ArrayLike,
) -> BodyLabel:
    """A body after its picture went through a similarity (2, 3), whose turn is one of the camera.

    ``camera`` (4,) is fx, fy, cx, cy in px of the picture; the rest is as in :class:`BodyLabel`.
    """
    intrinsics, turned = np.asarray(camera, np.float64), np.array(rotations, np.float64)
    turn, scale = turn_of(matrix), np.sqrt(np.linalg.det(matrix[:, :2])) * 2.0 / crop_px
    center = (matrix[:, :2] @ intrinsics[2:] + matrix[:, 2] + 0.5) * (2.0 / crop_px) - 1.0
    turned[0] = turn @ turned[0]
    return BodyLabel(
        np.array([*(intrinsics[:2] * scale), *center], np.float32),
        turned.astype(np.float32),
        (turn @ np.asarray(translation_m, np.float64)).astype(np.float32),
        np.asarray(betas, np.float32),
    )


@dataclass(frozen=True)
class CropSample:
    """A crop and its labels."""

    image: npt.NDArray[np.uint8]  # (S, S, 3) RGB
    keypoints: Floats  # (23, 3) crop coordinates (-1..1) and weight of the label, 0 where there is none
    known: npt.NDArray[np.bool_]  # (23,) whether it is known where it is, be it outside of the crop
    parts: npt.NDArray[np.uint8]  # (S/4, S/4) 0 background, part + 1, PART_PERSON or PART_UNKNOWN
    presence: bool = True  # whether the crop is centred on a person
    body: BodyLabel | None = None  # exact state, for rendered people
    taught: Floats | None = None  # (23, S/4, S/4) a larger network's heat maps, each summing to its weight


class Source(Protocol[S_co]):
    """Anything that gives samples; the same generator state gives the same sample."""

    def sample(self, rng: np.random.Generator) -> S_co:
        """Draw one."""
        ...


CropSource: TypeAlias = Source[CropSample]
"""Anything that gives training crops."""


class CropBatch(NamedTuple):
    """B crops as tensors; fields of samples without a body are zero where ``has_body`` is False."""

    images: Tensor  # (B, 3, S, S) uint8
    keypoints: Tensor  # (B, 23, 3)
    known: Tensor  # (B, 23) bool
    parts: Tensor  # (B, S/4, S/4) int64
    presence: Tensor  # (B,)
    to_virtual: Tensor  # (B, 3, 3)
    log_extent: Tensor  # (B,)
    has_body: Tensor  # (B,) bool
    rotations: Tensor  # (B, 22, 3, 3), root in the virtual camera
    translation_m: Tensor  # (B, 3), virtual camera
    betas: Tensor  # (B, 10)
    taught: Tensor  # (B, 23, S/4, S/4), zero where no teacher was

    def to(self, device: torch.device) -> "CropBatch":
        """The batch on another device."""
        return CropBatch(*[field.to(device, non_blocking=True) for field in self])


def collate(samples: list[CropSample]) -> CropBatch:
    """Stack samples; bodies are turned into the virtual cameras of their crops."""
    unknown = np.array([_DEFAULT_FOCAL, _DEFAULT_FOCAL, 0.0, 0.0], np.float32)
    view = virtual_view([unknown if s.body is None else s.body.intrinsics for s in samples])
    count = len(samples)
    rotations = np.tile(np.eye(3), (count, 1 + FLOW_ROTATIONS, 1, 1))
    translation, betas = np.zeros((count, 3)), np.zeros((count, NUM_BETAS))
    for row, sample in enumerate(samples):
        if sample.body is not None:
            turn = view.rotation[row].T
            rotations[row] = sample.body.rotations
            rotations[row, 0] = turn @ sample.body.rotations[0]
            translation[row] = turn @ sample.body.translation_m
            betas[row] = sample.body.betas
    images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
    return CropBatch(
        images,
        torch.from_numpy(np.stack([s.keypoints for s in samples])).float(),
        torch.from_numpy(np.stack([s.known for s in samples])),
        torch.from_numpy(np.stack([s.parts for s in samples])).long(),
        torch.tensor([float(s.presence) for s in samples]),
        torch.from_numpy(view.to_virtual).float(),
        torch.from_numpy(view.log_extent).float(),
        torch.tensor([s.body is not None for s in samples]),
        torch.from_numpy(rotations).float(),
        torch.from_numpy(translation).float(),
        torch.from_numpy(betas).float(),
        torch.from_numpy(np.stack([_untaught(s.image) if s.taught is None else s.taught for s in samples])),
    )


def _untaught(image: npt.NDArray[np.uint8]) -> Floats:
    side = image.shape[0] // PART_STRIDE
    return np.zeros((NUM_KEYPOINTS, side, side), np.float32)


class MixedCrops(Weighted[Source[S]]):
    """Draws from several sources with given weights."""

    def sample(self, rng: np.random.Generator) -> S:
        """Draw one crop."""
        return self.draw(rng).sample(rng)


def empty_keypoints() -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Keypoints and ``known`` of a crop without a person: none is there, and that is known."""
    return np.zeros((NUM_KEYPOINTS, 3), np.float32), np.ones(NUM_KEYPOINTS, np.bool_)
