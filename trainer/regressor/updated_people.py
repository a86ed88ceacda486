"""Bodies of real people as the measurement update finds them: targets for the state head.

What the head says of a crop is moved by the keypoints until the body agrees with the picture
(`kinestream.filtering.keypoint_update`). The result is what the head should have said. Where the keypoints
are the network's own it is self-supervision; a larger network's head and keypoints teach a smaller one.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kinestream.filtering.base import KeypointEvidence, PersonState
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_quat, matrix_from_sixd, quat_from_matrix
from kinestream.kernels.array_types import Float32Array
from kinestream.networks.interface import BodyState
from kinestream.regress.state_head import StateHead, to_plane
from kinestream.trainer.data.photos.unlabelled import CLEAN_MARGIN
from kinestream.trainer.losses.body import pelvis_from_code
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.observed_people import ObservedPeople

MIN_USED = 10
"""Keypoints that a body must have been moved by to be a target."""
SHAPE_SCALE = 0.1
"""Of the deviations of the shape: one picture by a camera that is only assumed says little of it."""
_BATCH = 256
_FOCAL_PX = 1000.0


class UpdatedBodies(NamedTuple):
    """Bodies of B crops in their virtual cameras, and whether the keypoints told enough of them."""

    rotations: Tensor  # (B, 22, 3, 3)
    translation_m: Tensor  # (B, 3)
    betas: Tensor  # (B, 10)
    log_extent: Tensor  # (B,)
    sure: Tensor  # (B,) bool

    def rows(self, index: Tensor) -> "UpdatedBodies":
        """Some of them."""
        return UpdatedBodies(*[field[index] for field in self])


@torch.no_grad()
def updated_bodies(
    head: StateHead, teacher: BodyTeacher, update: KeypointUpdate, people: ObservedPeople
) -> UpdatedBodies:
    """What the head says of all crops, after the update by the network's own keypoints."""
    head.eval()
    found = []
    for rows in torch.arange(len(people.log_extent)).split(_BATCH):
        evidence = type(people.evidence)(*[field[rows] for field in people.evidence])
        to_virtual, log_extent = people.to_virtual[rows], people.log_extent[rows]
        state = head(evidence, to_virtual, log_extent)
        points = to_plane(evidence.points, to_virtual) * log_extent.exp()[:, None, None] * _FOCAL_PX
        confidence = torch.sigmoid(evidence.confidence_logit)[..., None]
        keypoints = torch.cat([points, confidence], -1).numpy()
        covariances = people.covariance[rows].numpy()
        results = [
            update(person, _evidence(*seen), shape_scale=SHAPE_SCALE, deviations=False)
            for person, *seen in zip(
                _persons(state, log_extent), keypoints, covariances, log_extent, strict=True
            )
        ]
        z, root, place, betas = (
            torch.from_numpy(np.stack([getattr(one.state, name) for one in results]))
            for name in ("z", "root_quat_wxyz", "translation_m", "betas")
        )
        rotations = torch.cat([matrix_from_quat(root)[:, None], teacher.flow.decode(z)], 1)
        sure = torch.tensor([int(one.used.sum()) >= MIN_USED for one in results])
        found.append([rotations, place, betas, log_extent, sure])
    return UpdatedBodies(*[torch.cat(fields) for fields in zip(*found, strict=True)])


def _evidence(keypoints: Float32Array, covariance: Float32Array, log_extent: Tensor) -> KeypointEvidence:
    side = 2 * float(log_extent.exp()) * _FOCAL_PX
    camera = Camera(round(side), round(side), (_FOCAL_PX, _FOCAL_PX), (0.0, 0.0))
    return KeypointEvidence(keypoints, camera, side / CLEAN_MARGIN, covariance * (side / 2) ** 2)


def _persons(state: BodyState, log_extent: Tensor) -> list[PersonState]:
    place = pelvis_from_code(state.pelvis, log_extent)
    spread, depth = state.pelvis_log_std.exp(), place[:, 2:]
    across = spread[:, :2] * log_extent.exp()[:, None] * depth
    fields = {
        "z": state.z,
        "z_std": state.z_log_std.exp(),
        "root_quat_wxyz": quat_from_matrix(matrix_from_sixd(state.root_sixd)),
        "translation_m": place,
        "translation_std_m": torch.cat([across, spread[:, 2:] * depth], 1),
        "betas": state.betas,
        "betas_std": state.betas_log_std.exp(),
    }
    arrays = {name: field.numpy() for name, field in fields.items()}
    roots = state.root_log_std.exp().flatten().tolist()
    return [
        PersonState(root_std_rad=root, **{name: array[row] for name, array in arrays.items()})
        for row, root in enumerate(roots)
    ]
