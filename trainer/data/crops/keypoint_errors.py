"""Errors that a network made on rendered people, to be repeated on bodies that no picture shows.

They are drawn by whole observations, so that neighbouring keypoints err together and confidences are wrong as
they are in pictures. A keypoint taken for its mirror partner is kept as such: it comes back near the partner
of the new body.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kinestream.body.skeleton import MIRROR_KEYPOINTS, NUM_KEYPOINTS

_MIRROR = list(MIRROR_KEYPOINTS)
_SWAP_NEARER = 0.5
"""Taken for the partner: the distance to it is less than this share of the distance to the truth."""
_SWAP_APART = 0.12
"""Partners that are nearer to each other (half extents) cannot be told apart."""
_EDGE = 0.95


class KeypointErrors(NamedTuple):
    """N observations of whole people; half extents of the crop, virtual camera."""

    offset: Tensor  # (N, 23, 2) from the truth, or from the partner's where exchanged
    exchanged: Tensor  # (N, 23) bool
    confidence: Tensor  # (N, 23)

    @classmethod
    def measured(cls, points: Tensor, confidence: Tensor, true: Tensor) -> "KeypointErrors":
        """Errors of points (B, 23, 2) with confidences (B, 23); crops that cut somebody are left out."""
        whole = (true.abs() < 1).all(-1).all(-1)
        points, confidence, true = points[whole], confidence[whole], true[whole]
        partner = true[:, _MIRROR]
        own, other = (points - true).norm(dim=-1), (points - partner).norm(dim=-1)
        exchanged = (other < _SWAP_NEARER * own) & ((true - partner).norm(dim=-1) > _SWAP_APART)
        offset = points - torch.where(exchanged[..., None], partner, true)
        return cls(offset, exchanged, confidence)

    @classmethod
    def load(cls, path: Path) -> "KeypointErrors":
        """Read a file of `save`; ``ValueError`` for another one."""
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in cls._fields if name not in content.files]
            if missing:
                raise ValueError(f"{path}: no file of keypoint errors, keys {missing} are missing")
            fields = [torch.from_numpy(content[name]) for name in cls._fields]
        errors = cls(fields[0].float(), fields[1], fields[2].float())
        if not len(errors.offset) or errors.offset.shape[1:] != (NUM_KEYPOINTS, 2):
            raise ValueError(f"{path}: expected offsets (N, 23, 2), found {tuple(errors.offset.shape)}")
        return errors

    def save(self, path: Path) -> None:
        """Write an npz file, half precision."""
        arrays = (self.offset.half().numpy(), self.exchanged.numpy(), self.confidence.half().numpy())
        np.savez_compressed(path, **dict(zip(self._fields, arrays, strict=True)))  # type: ignore[arg-type]

    @classmethod
    def joined(cls, parts: "Sequence[KeypointErrors]") -> "KeypointErrors":
        """The observations of all."""
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def repeated(self, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points (B, 23, 2), confidences (B, 23) for true points, as in random observations or their mirror.

        What lies outside of the crop is put at its edge with little confidence, sometimes with some.
        """
        rows = torch.randint(len(self.offset), (len(points),), generator=generator)
        offset, exchanged, confidence = self.offset[rows], self.exchanged[rows], self.confidence[rows]
        flip = torch.rand(len(points), generator=generator) < 0.5
        mirrored = offset[:, _MIRROR] * torch.tensor([-1.0, 1.0])
        offset = torch.where(flip[:, None, None], mirrored, offset)
        exchanged = torch.where(flip[:, None], exchanged[:, _MIRROR], exchanged)
        confidence = torch.where(flip[:, None], confidence[:, _MIRROR], confidence)
        seen = torch.where(exchanged[..., None], points[:, _MIRROR], points) + offset
        outside = (points.abs() >= 1).any(-1)
        edge = 0.7 * torch.rand(confidence.shape, generator=generator) ** 3
        return seen.clamp(-_EDGE, _EDGE), torch.where(outside, edge, confidence)
