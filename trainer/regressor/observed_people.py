"""Real people as the network sees them: evidence that was computed once, with what photos and video tell."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kinestream.regress.network import RegressorNetwork
from kinestream.regress.state_head import Evidence
from kinestream.trainer.data.crops.crop_sample import CropBatch, CropSource, Source, collate
from kinestream.trainer.data.photos.unlabelled import Views, collate_views
from kinestream.trainer.losses.alignment import PartTargets, part_targets
from kinestream.trainer.regressor.self_targets import SelfThresholds

_BATCH = 32


class ObservedPeople(NamedTuple):
    """N runs of T frames (T = 1 for photos), frames of a run one after the other: B = N T crops."""

    evidence: Evidence
    in_mirror: Evidence  # of the mirrored crops
    covariance: Tensor  # (B, 23, 3) of the heat maps: xx, xy, yy in crop coordinates
    to_virtual: Tensor  # (B, 3, 3), of crops in whose middle the camera looks: also that of the mirrored ones
    log_extent: Tensor  # (B,)
    keypoints: Tensor  # (B, 23, 3) crop coordinates and weight
    parts: PartTargets
    times_s: Tensor  # (N, T)

    @classmethod
    def load(cls, path: Path) -> "ObservedPeople":
        """Read what `save` wrote; ``ValueError`` for another file."""
        with np.load(path, allow_pickle=False) as content:
            if content.files != _NAMES:
                raise ValueError(f"{path}: expected observed people, arrays {_NAMES}; found {content.files}")
            return cls._of([torch.from_numpy(content[name]) for name in _NAMES])

    @classmethod
    def _of(cls, fields: list[Tensor]) -> "ObservedPeople":
        evidence, in_mirror = Evidence(*fields[:4]), Evidence(*fields[4:8])
        return cls(evidence, in_mirror, *fields[8:12], PartTargets(*fields[12:14]), fields[14])

    def _fields_in_order(self) -> list[Tensor]:
        return [*self.evidence, *self.in_mirror, *self[2:6], *self.parts, self.times_s]

    def save(self, path: Path) -> None:
        """Write an npz file, whole or not at all."""
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            fields = dict(zip(_NAMES, self._fields_in_order(), strict=True))
            np.savez(file, **{name: field.numpy() for name, field in fields.items()})
        partial.replace(path)

    @classmethod
    def joined(cls, batches: Iterable["ObservedPeople"]) -> "ObservedPeople":
        """Batches of runs of one length in one."""
        fields = zip(*[batch._fields_in_order() for batch in batches], strict=True)
        return cls._of([torch.cat(values) for values in fields])

    def rows(self, index: Tensor) -> Tensor:
        """The crops of some of the runs."""
        frames = self.times_s.shape[1]
        return (index[:, None] * frames + torch.arange(frames)).flatten()

    def runs(self, index: Tensor) -> "ObservedPeople":
        """Some of the runs; part maps as the alignment takes them."""
        rows = self.rows(index)
        some = self._of([field[rows] for field in self._fields_in_order()[:-1]] + [self.times_s[index]])
        part_map, confidence = some.parts
        return some._replace(parts=PartTargets(part_map.long(), confidence.float()))


_NAMES = [
    *Evidence._fields,
    *[f"mirror_{name}" for name in Evidence._fields],
    *ObservedPeople._fields[2:6],
    *PartTargets._fields,
    "times_s",
]


def observe_photos(
    network: RegressorNetwork, photos: CropSource, count: int, *, seed: int, bfloat16: bool = False
) -> ObservedPeople:
    """Run the network on ``count`` random crops of photos, and on their mirror images.

    The same seed gives networks of any size the same crops.
    """
    found = []
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        batch = collate([photos.sample(np.random.default_rng((seed, number))) for number in numbers])
        found.append(_observed(network, batch, torch.zeros(len(batch.images), 1), bfloat16=bfloat16))
    return ObservedPeople.joined(found)


def observe_video(
    network: RegressorNetwork, video: Source[Views], runs: int, *, seed: int, bfloat16: bool = False
) -> ObservedPeople:
    """Run the network on ``runs`` random runs of frames; the keypoints of which it is sure are the labels."""
    sure = SelfThresholds().keypoint
    found = []
    for number in range(runs):
        views = collate_views([video.sample(np.random.default_rng((seed, number)))])
        seen = _observed(network, views.clean, views.times_s, bfloat16=bfloat16)
        confidence = torch.sigmoid(seen.evidence.confidence_logit)
        weight = confidence * (confidence >= sure)
        keypoints = torch.cat([seen.evidence.points, weight[..., None]], -1)
        found.append(seen._replace(keypoints=keypoints))
    return ObservedPeople.joined(found)


@torch.no_grad()
def _observed(
    network: RegressorNetwork, batch: CropBatch, times_s: Tensor, *, bfloat16: bool
) -> ObservedPeople:
    images = torch.cat([batch.images, batch.images.flip(-1)]).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        seen = network.eval().encode(images)
        logits = network.dense.parts(seen.features[: len(batch.images)])
    halves = zip(*[part.float().chunk(2) for part in seen.evidence], strict=True)
    evidence, in_mirror = (Evidence(*half) for half in halves)
    covariance = seen.covariance[: len(batch.images)].float()
    part_map, confidence = part_targets(batch.parts, logits)
    parts = PartTargets(part_map.to(torch.uint8), confidence.half())
    return ObservedPeople(
        evidence, in_mirror, covariance, batch.to_virtual, batch.log_extent, batch.keypoints, parts, times_s
    )
