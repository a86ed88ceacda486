"""The whole way from a sampled population to a finished body."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_BETAS, PART_OF_JOINT
from kinestream.tools.body_builder.archive import BodyArrays, BoundMesh, template_sha256
from kinestream.tools.body_builder.arrays import FloatArray, IntArray, Progress, silent
from kinestream.tools.body_builder.correctives import fit_correctives
from kinestream.tools.body_builder.decimate import decimate
from kinestream.tools.body_builder.landmarks import landmark_order, pick_landmarks
from kinestream.tools.body_builder.mesh import mirror_partners
from kinestream.tools.body_builder.population import Population
from kinestream.tools.body_builder.regressors import fit_regressor, regression_errors_mm, symmetric_joint_rows
from kinestream.tools.body_builder.shape_space import ShapeSpace, fit_shape_space
from kinestream.tools.body_builder.skeleton import (
    chain_positions,
    joint_centres,
    knuckle_directions,
    rotations_to_t_pose,
)
from kinestream.tools.body_builder.skinning import diffuse, keep_largest, merge_bones, release_trunk, unpose

log = logging.getLogger(__name__)

INFLUENCES = 4
KEYPOINT_STRIDE = 3
"""Every third adult is enough to fit the keypoints."""


@dataclass(frozen=True)
class BuildOptions:
    """What may be chosen about a body."""

    vertices: int = 6900  # target of the decimation, when the mesh is new
    smoothing: int = 20  # rounds of weight diffusion
    poses: int = 150  # random poses to which the correctives are fitted
    seed: int = 0  # seed of those poses


@dataclass(frozen=True)
class TPoses:
    """Adults in the T-pose: surfaces (N, V, 3), joints (N, 24, 3); they share weights and mirror vertices."""

    vertices_m: FloatArray
    joints_m: FloatArray
    weights: FloatArray
    partner: IntArray


@dataclass(frozen=True)
class _Surface:
    """Which vertices of the source surface the body has, in order, and how they are joined."""

    kept: IntArray
    faces: IntArray
    uv: FloatArray
    uv_faces: IntArray


def build_body(
    population: Population,
    *,
    mesh: BoundMesh | None = None,
    options: BuildOptions | None = None,
    progress: Progress = silent,
) -> tuple[BodyArrays, Mapping[str, float]]:
    """Build the body of a population, and the figures that tell how good it is.

    Args:
        population: adults in the source pose.
        mesh: keep vertices, order, triangles, template and shape space of this body, so that assets bound to
            it stay valid; without it the source surface is decimated anew.
        options: see `BuildOptions`.
        progress: called while steps run.

    Raises ``ValueError``: `mesh` does not fit the population.
    """
    options = options or BuildOptions()
    progress("removing the source pose", 0, 1)
    adults = to_t_pose(population, options.smoothing)
    progress("removing the source pose", 1, 1)
    shape = fit_shape_space(adults.vertices_m, population.faces, NUM_BETAS)
    progress("finding shape components", 1, 1)
    strided = adults.vertices_m[::KEYPOINT_STRIDE].astype(np.float64)
    keypoints = np.einsum("kv,nvd->nkd", population.keypoint_rows.astype(np.float64), strided)
    surface = (
        _kept_surface(population, mesh)
        if mesh is not None
        else _new_surface(population, adults, shape, keypoints.mean(0), options.vertices, progress)
    )

    vertices = adults.vertices_m[:, surface.kept].astype(np.float64)
    template, directions = shape.mean_m[surface.kept], shape.directions_m[surface.kept]
    if mesh is not None:
        template, directions = (array.astype(np.float64) for array in mesh.settle(template, directions))
    partner = mirror_partners(template)
    weights = keep_largest(adults.weights[surface.kept], INFLUENCES)
    joint_rows = symmetric_joint_rows(fit_regressor(vertices, adults.joints_m), partner)
    progress("fitting regressors", 1, 2)
    keypoint_rows = fit_regressor(vertices[::KEYPOINT_STRIDE], keypoints)
    progress("fitting regressors", 2, 2)
    correctives = fit_correctives(
        template,
        surface.faces,
        weights,
        joint_rows @ template,
        partner,
        poses=options.poses,
        seed=options.seed,
        progress=progress,
    )
    body = BodyArrays(
        template_m=template,
        shape_directions_m=directions,
        shape_variance=shape.variance,
        pose_directions_m=correctives.directions_m,
        joint_regressor=joint_rows,
        keypoint_regressor=keypoint_rows,
        weights=weights,
        faces=surface.faces,
        part_labels=np.array(PART_OF_JOINT)[weights.argmax(1)],
        uv=surface.uv,
        uv_faces=surface.uv_faces,
        mirror_index=partner,
        hm08_index=population.hm08_index[surface.kept],
    )
    log.info("template sha256 %s", template_sha256(template))
    joint_error = regression_errors_mm(joint_rows, vertices, adults.joints_m)
    keypoint_error = regression_errors_mm(keypoint_rows, vertices[::KEYPOINT_STRIDE], keypoints)
    return body, {
        "variance explained": float(shape.variance.sum()),
        "joint regressor error, mean (mm)": float(joint_error.mean()),
        "joint regressor error, 95 % (mm)": float(np.percentile(joint_error, 95)),
        "keypoint regressor error, mean (mm)": float(keypoint_error.mean()),
        "correctives wanted, held-out RMS (mm)": correctives.target_rms_mm,
        "correctives missing, held-out RMS (mm)": correctives.residual_rms_mm,
    }


def to_t_pose(population: Population, smoothing: int) -> TPoses:
    """Place the joints, merge the weights, and invert the skinning of the source pose for every adult."""
    bones = population.bone_names
    vertices = population.vertices_m.astype(np.float64)
    heads = population.bone_heads_m.astype(np.float64)
    mean = vertices.mean(0)
    partner = mirror_partners(mean)
    rows = symmetric_joint_rows(fit_regressor(vertices, joint_centres(heads, bones)), partner)
    joints = np.einsum("kv,nvd->nkd", rows, vertices)
    weights = release_trunk(merge_bones(population.bone_weights, bones), mean, joints.mean(0))
    weights = diffuse(weights, population.faces, smoothing)
    rotations = rotations_to_t_pose(joints, knuckle_directions(heads, bones))
    joints_rest = chain_positions(rotations, joints)
    return TPoses(unpose(vertices, weights, rotations, joints, joints_rest), joints_rest, weights, partner)


def _kept_surface(population: Population, mesh: BoundMesh) -> _Surface:
    """The surface of an existing mesh, found again in the population by its hm08 ids."""
    place = {int(hm08): vertex for vertex, hm08 in enumerate(population.hm08_index)}
    foreign = [int(hm08) for hm08 in mesh.hm08_index if int(hm08) not in place]
    if foreign:
        raise ValueError(
            f"{len(foreign)} vertices of the kept mesh are not on the surface of the population, e.g. hm08 "
            f"id {foreign[0]}: the mesh belongs to another source model; use --new-mesh"
        )
    kept = np.array([place[int(hm08)] for hm08 in mesh.hm08_index])
    return _Surface(kept, mesh.faces.astype(np.int64), mesh.uv, mesh.uv_faces)


def _new_surface(
    population: Population,
    adults: TPoses,
    shape: ShapeSpace,
    keypoints_m: FloatArray,
    target: int,
    progress: Progress,
) -> _Surface:
    """Decimate the visible surface of the mean body and put the landmark vertices at their ids."""
    visible = ~population.hidden
    total = len(np.unique(population.faces[visible]))
    small = decimate(
        shape.mean_m,
        population.faces[visible],
        uv=population.uv.astype(np.float64),
        uv_faces=population.uv_faces[visible],
        partner=adults.partner,
        weights=adults.weights,
        target=target,
        on_count=lambda left: progress("decimating the surface", total - left, total - target),
    )
    picks = pick_landmarks(
        shape.mean_m[small.kept],
        population.bone_weights[small.kept],
        population.bone_names,
        dict(zip(KEYPOINT_NAMES, keypoints_m, strict=True)),
        adults.joints_m.mean(0),
    )
    order = landmark_order(len(small.kept), picks)
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    used, uv_faces = np.unique(small.uv_faces, return_inverse=True)
    return _Surface(small.kept[order], place[small.faces], population.uv[used], uv_faces.reshape(-1, 3))
