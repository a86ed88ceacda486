"""From the state of a track to the body that is published: joints, keypoints, their uncertainty, mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kinestream.body.arrays import BodyArrays
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.skeleton import NUM_JOINTS
from kinestream.filtering import PersonState
from kinestream.geometry.camera import MIN_DEPTH_M, Camera
from kinestream.geometry.compiled_rotation import quat_from_matrix
from kinestream.geometry.quaternion import to_matrix
from kinestream.kernels.array_types import Float32Array, Float64Array

if TYPE_CHECKING:
    from kinestream.body.model import BodyModel

_PROBES = 6
"""Random poses over which the sensitivity of the joints is averaged."""
_PROBE_STEP = 0.05


class LatentDecoder(Protocol):
    """Latent poses (P, D) to rotations (P, 21, 3, 3); see `kinestream.latent.decode.FlowDecoder`."""

    dim: int
    flow_id: str

    def decode(self, latent: Float32Array) -> Float32Array:
        """Local rotations of joints 1 to 21."""
        ...


@dataclass(frozen=True, eq=False)
class PosedBody:
    """One posed person.

    Attributes:
        joint_quats_wxyz: (21, 4) local rotations.
        joints_cam_m: (24, 3).
        joint_std_m: (24,) along the worst axis.
        keypoints_cam_m: (23, 3).
        vertices_cam_m: (V, 3), None unless asked for.
    """

    joint_quats_wxyz: Float32Array
    joints_cam_m: Float32Array
    joint_std_m: Float32Array
    keypoints_cam_m: Float32Array
    vertices_cam_m: Float32Array | None = None

    def keypoints_px(self, camera: Camera) -> Float32Array:
        """The keypoints in the picture, (23, 2); those behind the camera as if just before it."""
        points = self.keypoints_cam_m.astype(np.float64)
        points[:, 2] = np.maximum(points[:, 2], 2 * MIN_DEPTH_M)
        if camera.distortion:
            return camera.project(points).astype(np.float32)
        plane = points[:, :2] / points[:, 2:]
        return np.asarray(plane * camera.focal_px + camera.center_px, np.float32)


class BodyPoser:
    """Poses a body by latent states. Not thread-safe."""

    def __init__(self, body: BodyArrays, decoder: LatentDecoder, *, vertices: bool = False) -> None:
        """Take a body and the decoder of its latent poses; with ``vertices`` give the mesh as well."""
        self._decoder = decoder
        self._mesh: BodyModel | None = None
        if vertices:
            from kinestream.body.model import BodyModel  # torch, which takes seconds to load

            self._mesh = BodyModel(body)
        self._kinematics = CompiledKinematics.of(body)
        self._joint_variance_per_latent = self._sensitivity()
        quat_from_matrix(np.eye(3)[None])  # compile now, not at the first person

    def pose(self, states: Sequence[PersonState]) -> list[PosedBody]:
        """One body for each state."""
        if not states:
            return []
        local = self._rotations(states)
        quats = quat_from_matrix(local.reshape(-1, 3, 3)).reshape(len(states), NUM_JOINTS, 4)[:, 1:22]
        meshes = self._meshes(self._mesh, states, local) if self._mesh else [None] * len(states)
        bodies = []
        for state, rotations, joint_quats, mesh in zip(states, local, quats, meshes, strict=True):
            self._kinematics.set_shape(state.betas)
            joints, keypoints = self._kinematics.pose(rotations, state.translation_m)
            std = self._joint_std(state, joints)
            bodies.append(
                PosedBody(joint_quats, joints.astype(np.float32), std, keypoints.astype(np.float32), mesh)
            )
        return bodies

    def _rotations(self, states: Sequence[PersonState]) -> Float64Array:
        """Local rotations (P, 24, 3, 3), the first in the camera frame, hands straight."""
        local = np.empty((len(states), NUM_JOINTS, 3, 3))
        for rotations, state in zip(local, states, strict=True):
            w, x, y, z = state.root_quat_wxyz.tolist()
            rotations[0] = to_matrix((w, x, y, z))
        local[:, 1:22] = self._decoder.decode(np.stack([state.z for state in states]))
        local[:, 22:] = np.eye(3)
        return local

    def _joint_std(self, state: PersonState, joints: Float64Array) -> Float32Array:
        """Standard deviation (24,) of the joints to first order: latent, turn about the pelvis, place."""
        lever2 = np.square(joints - joints[0]).sum(1)
        own = self._joint_variance_per_latent @ np.square(state.z_std) + lever2 * state.root_std_rad**2
        if state.joint_std_share is not None:
            own *= np.square(state.joint_std_share)
        return np.asarray(np.sqrt(own + np.square(state.translation_std_m).max()), np.float32)

    def _sensitivity(self) -> Float64Array:
        """Mean squared movement (24, D) of each joint, in m, per unit of each latent."""
        dim = self._decoder.dim
        centers = np.random.default_rng(0).normal(size=(_PROBES, dim)).astype(np.float32)
        centers[0] = 0
        total = np.zeros((NUM_JOINTS, dim))
        straight = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
        for center in centers:
            rotations = self._decoder.decode(
                np.concatenate([center[None], center + _PROBE_STEP * np.eye(dim, dtype="f")])
            )
            moved = np.empty((dim + 1, NUM_JOINTS, 3))
            for i, local in enumerate(rotations):
                straight[1:22] = local
                moved[i] = self._kinematics.pose(straight, np.zeros(3))[0]
            total += np.square((moved[1:] - moved[0]) / _PROBE_STEP).sum(-1).T
        return total / _PROBES

    @staticmethod
    def _meshes(
        mesh: BodyModel, states: Sequence[PersonState], local: Float64Array
    ) -> list[Float32Array | None]:
        import torch

        with torch.inference_mode():
            output = mesh(
                torch.from_numpy(np.stack([state.betas for state in states])),
                torch.from_numpy(local.astype(np.float32)),
                torch.from_numpy(np.stack([state.translation_m for state in states])),
            )
        return list(output.vertices_m.numpy())
