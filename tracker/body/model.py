"""The body model: linear blend skinning in torch, batched and differentiable, CPU or GPU.

The same function as SMPL (Loper et al. 2015): shape and pose blend shapes, joints regressed from the
shaped body, a chain of rigid transforms, linear blend skinning. Three things differ in form only:

* Coordinates are kept as planes (x of all points, then y, then z), so that blending and skinning are
  two matrix products and no small matrix per vertex is ever touched.
* Joints are linear in the betas, hence computed from a small collapsed basis, never from vertices.
* ``translation_m`` is where the pelvis joint goes, for every shape and every body file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinestream.body.arrays import (
    DEFAULT_BODY_PATH,
    NUM_POSE_FEATURES,
    BodyArrays,
    keypoint_parts,
    load_body_arrays,
    read_body,
)
from kinestream.body.skeleton import NUM_JOINTS, NUM_KEYPOINTS, PARENTS
from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array


@dataclass(frozen=True, repr=False, eq=False)
class BodyOutput:
    """Posed bodies in metres, in the frame of the translation that was given."""

    vertices_m: Tensor  # (B, V, 3)
    joints_m: Tensor  # (B, 24, 3)
    keypoints_m: Tensor  # (B, 23, 3)

    def __repr__(self) -> str:
        """Show the shapes, not the numbers."""
        shapes = (f"{k}={tuple(v.shape)}" for k, v in vars(self).items())
        return f"BodyOutput({', '.join(shapes)})"


class SkinnedPoints(nn.Module):
    """N points that follow the skeleton: blend shapes and skinning weights, stored as planes."""

    template: Tensor  # (3N,)
    blendshapes: Tensor  # (S + 207, 3N), or (S, 3N) without pose correctives
    weights: Tensor  # (24, N)
    mass: Tensor  # (N,)

    def __init__(
        self, template: Tensor, shapedirs: Tensor, posedirs: Tensor | None, weights: Tensor, mass: Tensor
    ) -> None:
        """Take a template (N, 3), shapedirs (N, 3, S), posedirs (N, 3, 207) and weights (N, 24).

        The ``mass`` (N,) is 1 for whole points; partial sums of weighted vertices have that of their weights.
        """
        super().__init__()
        directions = shapedirs if posedirs is None else torch.cat([shapedirs, posedirs], dim=2)
        self.has_correctives = posedirs is not None
        buffers = {
            "template": template.T.flatten(),
            "blendshapes": directions.permute(2, 1, 0).flatten(1),
            "weights": weights.T,
            "mass": mass,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.contiguous(), persistent=False)

    def forward(self, betas: Tensor, local: Tensor, affine: Tensor) -> Tensor:
        """Return the posed points.

        Args:
            betas: (B, S) shape.
            local: (B, 24, 3, 3) joint rotations, each relative to the parent.
            affine: (B, 24, 3, 4) map of each joint from the rest pose.

        Returns:
            (B, N, 3) points in metres.

        """
        coefficients = betas
        if self.has_correctives:
            identity = torch.eye(3, dtype=local.dtype, device=local.device)
            coefficients = torch.cat([betas, (local[:, 1:] - identity).flatten(1)], dim=1)
        batch, count = betas.shape[0], self.weights.shape[1]
        rest = torch.addmm(self.template, coefficients, self.blendshapes).view(batch, 1, 3, count)
        blended = affine.flatten(2).transpose(1, 2) @ self.weights  # (B, 12, N)
        blended = blended.view(batch, 3, 4, count)
        posed = (blended[:, :, :3] * rest).sum(dim=2) + blended[:, :, 3] * self.mass  # (B, 3, N)
        return posed.transpose(1, 2).contiguous()


class BodyModel(nn.Module):
    """A body of V vertices on the 24-joint skeleton; see :meth:`forward`.

    All arrays are non-persistent buffers: they move with ``.to()``, but a checkpoint of a module that
    holds a body does not contain it.
    """

    joint_regressor: Tensor  # (24, V)
    keypoint_regressor: Tensor  # (23, V)
    faces: Tensor  # (F, 3) int64
    part_labels: Tensor  # (V,) int64
    parents: Tensor  # (24,) int64
    joint_template: Tensor  # (24, 3)
    joint_shapedirs: Tensor  # (S, 24 * 3)
    _place_of_parent: Tensor  # (24,)
    _support: Tensor  # (M,) vertices on which keypoints depend
    _support_weights: Tensor  # (23, M)
    _keypoint_of_part: Tensor  # (23, P) 1 where a part belongs to a keypoint

    def __init__(self, arrays: BodyArrays, *, dtype: torch.dtype = torch.float32) -> None:
        """Build a model of float32 or float64 from checked arrays."""
        super().__init__()
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype is {dtype}; a body model computes in torch.float32 or torch.float64")

        def tensor(array: AnyArray) -> Tensor:
            return torch.tensor(array, dtype=dtype)

        support = arrays.keypoint_support
        share, keypoint, joint = keypoint_parts(
            arrays.keypoint_regressor[:, support], arrays.skin_weights[support].astype(np.float64)
        )
        joint_template, shape = arrays.rest_joints
        joint_shapedirs = shape.transpose(2, 0, 1).reshape(shape.shape[2], -1)
        buffers = {
            "joint_regressor": tensor(arrays.joint_regressor),
            "keypoint_regressor": tensor(arrays.keypoint_regressor),
            "faces": torch.tensor(arrays.faces),
            "part_labels": torch.tensor(arrays.part_labels),
            "parents": torch.tensor(PARENTS),
            "joint_template": tensor(joint_template),
            "joint_shapedirs": tensor(joint_shapedirs),
            "_place_of_parent": torch.tensor(_PLACE_OF_PARENT),
            "_support": torch.tensor(support),
            "_support_weights": tensor(arrays.keypoint_regressor[:, support]),
            "_keypoint_of_part": tensor(np.arange(NUM_KEYPOINTS)[:, None] == keypoint),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

        def points(
            of: Callable[[Float32Array], AnyArray], weights: AnyArray, mass: Float64Array
        ) -> SkinnedPoints:
            """Points whose rest positions and directions are those ``of`` the vertices."""
            return SkinnedPoints(
                tensor(of(arrays.v_template)),
                tensor(of(arrays.shapedirs)),
                None if arrays.posedirs is None else tensor(of(arrays.posedirs)),
                tensor(weights),
                tensor(mass),
            )

        self._surface = points(lambda whole: whole, arrays.skin_weights, np.ones(len(arrays.v_template)))
        self._keypoint_parts = points(
            lambda vertices: np.tensordot(share, vertices[support], 1),
            joint[:, None] == np.arange(NUM_JOINTS),
            share.sum(axis=1),
        )

    @classmethod
    def load(cls, path: str | Path | None = None, *, dtype: torch.dtype = torch.float32) -> "BodyModel":
        """Load a body file in our own layout; None means the embedded free body.

        Raises :class:`kinestream.body.arrays.BodyFileError`. For SMPL-family files see
        :func:`load_body`.
        """
        return cls(load_body_arrays(DEFAULT_BODY_PATH if path is None else path), dtype=dtype)

    @property
    def num_betas(self) -> int:
        """Number of shape components S."""
        return self.joint_shapedirs.shape[0]

    @property
    def num_vertices(self) -> int:
        """Number of vertices V."""
        return self.part_labels.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type in which the model computes and which inputs must have."""
        return self.joint_template.dtype

    @property
    def v_template(self) -> Tensor:
        """Mean body in the T-pose, (V, 3) metres."""
        return self._surface.template.view(3, -1).T

    @property
    def shapedirs(self) -> Tensor:
        """Shape components, (V, 3, S) metres per standard deviation."""
        return self._surface.blendshapes[: self.num_betas].view(self.num_betas, 3, -1).permute(2, 1, 0)

    @property
    def posedirs(self) -> Tensor | None:
        """Pose correctives, (V, 3, 207), or None where the body has none."""
        if not self._surface.has_correctives:
            return None
        return self._surface.blendshapes[self.num_betas :].view(NUM_POSE_FEATURES, 3, -1).permute(2, 1, 0)

    @property
    def skin_weights(self) -> Tensor:
        """Skinning weights, (V, 24)."""
        return self._surface.weights.T

    def forward(self, betas: Tensor, rotations: Tensor, translation_m: Tensor | None = None) -> BodyOutput:
        """Pose the body.

        Args:
            betas: (B, n) shape in standard deviations, n <= S; missing components are 0.
            rotations: (B, 24, 3, 3) relative to the parent joint; the first is the root's, in the
                frame of the result.
            translation_m: (B, 3) position of the pelvis joint; None means the origin.

        A batch of 1 is broadcast to the batch of the others.

        Returns:
            Vertices, joints and keypoints in metres.

        Raises:
            ValueError: a shape does not fit.
            TypeError: a dtype is not that of the model.

        """
        betas, rotations, offset = self._inputs(betas, rotations, translation_m)
        with _full_precision(betas):
            joints, affine = self._chain(betas, rotations)
            vertices = self._surface(betas, rotations, affine)
            keypoints = self._support_weights @ vertices[:, self._support]
        return BodyOutput(vertices + offset, joints + offset, keypoints + offset)

    def skeleton(
        self, betas: Tensor, rotations: Tensor, translation_m: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return joints (B, 24, 3) and keypoints (B, 23, 3) in metres, as :meth:`forward` gives them.

        No vertex is posed, only the part of each keypoint that follows a joint; many times faster.
        """
        betas, rotations, offset = self._inputs(betas, rotations, translation_m)
        with _full_precision(betas):
            joints, affine = self._chain(betas, rotations)
            keypoints = self._keypoint_of_part @ self._keypoint_parts(betas, rotations, affine)
        return joints + offset, keypoints + offset

    def joints(self, betas: Tensor, rotations: Tensor, translation_m: Tensor | None = None) -> Tensor:
        """Return the joints (B, 24, 3) in metres, as :meth:`forward` gives them, without vertices."""
        betas, rotations, offset = self._inputs(betas, rotations, translation_m)
        with _full_precision(betas):
            return self._chain(betas, rotations)[0] + offset

    def extra_repr(self) -> str:
        """Describe the size of the body in one line."""
        correctives = "with" if self._surface.has_correctives else "without"
        return f"{self.num_vertices} vertices, {self.num_betas} betas, {correctives} pose correctives"

    def _inputs(
        self, betas: Tensor, rotations: Tensor, translation_m: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if translation_m is None:
            translation_m = betas.new_zeros(1, 3)
        given = {"betas": betas, "rotations": rotations, "translation_m": translation_m}
        for name, value in given.items():
            if value.dtype != self.dtype:
                raise TypeError(f"{name} has dtype {value.dtype}, but this body computes in {self.dtype}")
        fits = (
            betas.ndim == 2
            and betas.shape[1] <= self.num_betas
            and rotations.shape[1:] == (NUM_JOINTS, 3, 3)
            and translation_m.shape[1:] == (3,)
        )
        sizes = {value.shape[0] for value in given.values() if value.ndim}
        if not fits or len(sizes - {1}) > 1:
            found = ", ".join(f"{name} {tuple(value.shape)}" for name, value in given.items())
            raise ValueError(
                f"found {found}; expected betas (B, n <= {self.num_betas}), "
                f"rotations (B, {NUM_JOINTS}, 3, 3), translation_m (B, 3) with one B, or 1, for all"
            )
        batch = next(iter(sizes - {1}), 1)
        betas = nn.functional.pad(betas, (0, self.num_betas - betas.shape[1]))
        return (
            betas.expand(batch, -1),
            rotations.expand(batch, -1, -1, -1),
            translation_m[:, None],
        )

    def _chain(self, betas: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Return posed joints (B, 24, 3) and joint maps (B, 24, 3, 4), the pelvis at the origin."""
        rest = self.joint_template + (betas @ self.joint_shapedirs).view(-1, NUM_JOINTS, 3)
        bones = torch.cat([torch.zeros_like(rest[:, :1]), rest[:, 1:] - rest[:, self.parents[1:]]], dim=1)
        local = torch.cat([rotations, bones[..., None]], dim=3)  # (B, 24, 3, 4)
        local = nn.functional.pad(local, (0, 0, 0, 1))
        local[..., 3, 3] = 1.0
        levels = [local[:, :1]]
        for joints in _LEVELS:
            levels.append(levels[-1][:, self._place_of_parent[joints]] @ local[:, joints])
        world = torch.cat(levels, dim=1)[:, :, :3]
        turn, joints_m = world[..., :3], world[..., 3]
        shift = joints_m - (turn @ rest[..., None])[..., 0]
        return joints_m, torch.cat([turn, shift[..., None]], dim=3)


def load_body(spec: str | Path | None = None, *, dtype: torch.dtype = torch.float32) -> BodyModel:
    """Load the body that ``spec`` names.

    Args:
        spec: None or ``"default"`` for the embedded free body; or the path of an npz file, either in our
            layout or a SMPL, SMPL-H or SMPL-X model (see :mod:`kinestream.body.smplx_adapter`).
        dtype: torch.float32 or torch.float64.

    Raises:
        BodyFileError: the file cannot be used; the message says why and what to do.

    """
    return BodyModel(read_body(spec), dtype=dtype)


def _full_precision(like: Tensor) -> torch.autocast:
    """Keep autocast off: in half precision a chain of joints is off by centimetres."""
    return torch.autocast(like.device.type, enabled=False)


def _tree_levels() -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """Group the joints by depth: the joints of a level are neighbours in the SMPL order.

    Returns the levels below the root, and for each joint the place of its parent within its level.
    """
    levels = [range(1)]
    while joints := [j for j, parent in enumerate(PARENTS) if parent in levels[-1]]:
        levels.append(range(joints[0], joints[-1] + 1))
    start_of = {j: level.start for level in levels for j in level}
    place = tuple(parent - start_of.get(parent, parent) for parent in PARENTS)
    return tuple(slice(level.start, level.stop) for level in levels[1:]), place


_LEVELS, _PLACE_OF_PARENT = _tree_levels()
