"""Seeded scenes for the part alignment loss: people, the part maps they render to, and perturbed copies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinestream.body.arrays import BodyArrays
from kinestream.body.model import BodyModel, BodyOutput
from kinestream.body.skeleton import NUM_FLOW_JOINTS
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.kernels.raster import Target, plain_mesh
from kinestream.kernels.raster import cpu as raster

UPRIGHT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
"""Root rotation of an upright person who faces the camera."""


@dataclass(frozen=True)
class Bodies:
    """Parameters of B bodies in the camera frame."""

    betas: Tensor  # (B,10)
    rotations: Tensor  # (B,24,3,3), root first
    translation_m: Tensor  # (B,3)

    def posed(self, body: BodyModel) -> BodyOutput:
        """Vertices, joints and keypoints in camera metres."""
        return body(self.betas, self.rotations, self.translation_m)

    def rows(self, index: Tensor) -> "Bodies":
        """Some of the bodies."""
        return Bodies(self.betas[index], self.rotations[index], self.translation_m[index])

    @staticmethod
    def joined(parts: "Sequence[Bodies]") -> "Bodies":
        """Bodies of several batches in one."""
        return Bodies(
            torch.cat([part.betas for part in parts]),
            torch.cat([part.rotations for part in parts]),
            torch.cat([part.translation_m for part in parts]),
        )


def thinned(arrays: BodyArrays, every: int) -> tuple[BodyModel, Tensor]:
    """A body of every n-th vertex and those that its joints hang on, without faces, and which those are.

    Its joints are those of the whole body; its keypoints are not.
    """
    wanted = np.arange(len(arrays.v_template)) % every == 0
    kept = np.flatnonzero(wanted | arrays.joint_regressor.any(axis=0))
    chosen = BodyArrays(
        v_template=arrays.v_template[kept],
        shapedirs=arrays.shapedirs[kept],
        posedirs=None if arrays.posedirs is None else arrays.posedirs[kept],
        joint_regressor=arrays.joint_regressor[:, kept],
        skin_weights=arrays.skin_weights[kept],
        faces=np.zeros((0, 3), np.int64),
        part_labels=arrays.part_labels[kept],
        keypoint_regressor=arrays.keypoint_regressor[:, kept],
    )
    return BodyModel(chosen), torch.from_numpy(kept)


def square_camera(size_px: int) -> Camera:
    """A square picture that sees 50 degrees across."""
    return Camera.from_fov(size_px, size_px, fov_deg=50.0, axis="horizontal")


def place_people(poses: Tensor, generator: torch.Generator) -> Bodies:
    """Upright people of random shape with the poses (B,21,3,3), turned any way, about 2.6 m away."""
    batch = len(poses)
    turn = torch.zeros(batch, 3)
    turn[:, 1] = (torch.rand(batch, generator=generator) * 2 - 1) * torch.pi
    rotations = torch.eye(3).repeat(batch, 24, 1, 1)
    rotations[:, 0] = UPRIGHT @ matrix_from_axis_angle(turn)
    rotations[:, 1 : NUM_FLOW_JOINTS + 1] = poses
    offset = torch.randn(batch, 3, generator=generator) * torch.tensor([0.1, 0.1, 0.15])
    return Bodies(
        betas=torch.randn(batch, 10, generator=generator),
        rotations=rotations,
        translation_m=torch.tensor([0.0, 0.0, 2.6]) + offset,
    )


def perturbed(people: Bodies, generator: torch.Generator, *, angle_deg: float, shift_m: float) -> Bodies:
    """Copies of mean shape, moved by shift_m in a random direction, root and joints turned at random.

    Every rotation turns about a random axis by an angle from N(0, angle_deg).
    """
    batch = len(people.betas)
    axes = torch.randn(batch, NUM_FLOW_JOINTS + 1, 3, generator=generator)
    angles = torch.randn(batch, NUM_FLOW_JOINTS + 1, 1, generator=generator) * np.deg2rad(angle_deg)
    noise = matrix_from_axis_angle(axes / axes.norm(dim=-1, keepdim=True) * angles)
    rotations = people.rotations.clone()
    rotations[:, : NUM_FLOW_JOINTS + 1] = rotations[:, : NUM_FLOW_JOINTS + 1] @ noise
    shift = torch.randn(batch, 3, generator=generator)
    return Bodies(
        betas=torch.zeros_like(people.betas),
        rotations=rotations,
        translation_m=people.translation_m + shift_m * shift / shift.norm(dim=-1, keepdim=True),
    )


def render_parts(body: BodyModel, vertices_m: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Part maps (B,H,W) uint8 (0 background, p + 1 for part p), and which vertices are seen, (B,V) bool.

    A vertex is seen when it is at most 3 cm behind what its pixel shows, and that pixel shows its own part:
    an arm close behind the trunk is not.
    """
    faces = body.faces.numpy().astype(np.int32)
    parts = body.part_labels.numpy().astype(np.uint8)
    target = Target(camera.height_px, camera.width_px)
    maps, seen = [], []
    last = np.array([camera.width_px, camera.height_px]) - 1
    for vertices in vertices_m.detach().numpy().astype(np.float32):
        target.clear()
        raster.draw(target, plain_mesh(vertices, faces, part=parts), camera.K)
        maps.append(torch.from_numpy(target.part.copy()))
        visible = raster.vertex_visibility(target, vertices, camera.K, tolerance_m=0.03)
        points_px = vertices @ np.asarray(camera.K, np.float32).T
        columns, rows = np.rint(points_px[:, :2] / points_px[:, 2:]).clip(0, last).astype(int).T
        seen.append(torch.from_numpy(visible & (target.part[rows, columns] == parts + 1)))
    return torch.stack(maps), torch.stack(seen)
