"""Named points on the body for fitting to 2D labels: rigid to a joint, at an offset of the default body."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES, PARENTS


@dataclass(frozen=True)
class Landmarks:
    """K points: point k is joint `joints[k]` plus the joint's rotation of `offsets_m[k]`."""

    names: tuple[str, ...]
    joints: tuple[int, ...]
    offsets_m: tuple[tuple[float, float, float], ...]

    def __len__(self) -> int:
        return len(self.names)

    def place(self, body: BodyModel, betas: Tensor, rotations: Tensor, translation_m: Tensor) -> Tensor:
        """Points (B, K, 3) of bodies: betas (B, 10), rotations (B, 24, 3, 3), translation_m (B, 3)."""
        joints = body.joints(betas, rotations, translation_m)
        points = joints[:, list(self.joints)]
        turned: dict[int, Tensor] = {}
        columns = []
        for k, (joint, offset) in enumerate(zip(self.joints, self.offsets_m, strict=True)):
            point = points[:, k]
            if any(offset):
                rotation = _global_rotation(rotations, joint, turned)
                point = point + rotation @ torch.tensor(offset, dtype=point.dtype, device=point.device)
            columns.append(point)
        return torch.stack(columns, dim=1)


def _global_rotation(rotations: Tensor, joint: int, known: dict[int, Tensor]) -> Tensor:
    if joint not in known:
        own = rotations[:, joint]
        parent = PARENTS[joint]
        known[joint] = own if parent < 0 else _global_rotation(rotations, parent, known) @ own
    return known[joint]


def _on_joints(**points: tuple[str, tuple[float, float, float]]) -> Landmarks:
    joints = tuple(JOINT_NAMES.index(joint) for joint, _ in points.values())
    return Landmarks(tuple(points), joints, tuple(offset for _, offset in points.values()))


_AT_JOINT = (0.0, 0.0, 0.0)

LSP_LANDMARKS = _on_joints(
    right_ankle=("right_ankle", _AT_JOINT),
    right_knee=("right_knee", _AT_JOINT),
    right_hip=("right_hip", _AT_JOINT),
    left_hip=("left_hip", _AT_JOINT),
    left_knee=("left_knee", _AT_JOINT),
    left_ankle=("left_ankle", _AT_JOINT),
    right_wrist=("right_wrist", _AT_JOINT),
    right_elbow=("right_elbow", _AT_JOINT),
    right_shoulder=("right_shoulder", _AT_JOINT),
    left_shoulder=("left_shoulder", _AT_JOINT),
    left_elbow=("left_elbow", _AT_JOINT),
    left_wrist=("left_wrist", _AT_JOINT),
    neck=("spine3", (0.0, 0.162, 0.045)),
    head_top=("head", (0.0, 0.153, 0.014)),
)
"""The 14 joints of the Leeds Sports Pose labels, in their order."""
