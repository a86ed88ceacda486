"""A synthetic adult population drawn from the `anny` body model (NAVER, Apache-2.0; MakeHuman data, CC0)."""

import importlib
import importlib.metadata
import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.tools.body_builder.arrays import BoolArray, FloatArray, IntArray, Progress, silent

log = logging.getLogger(__name__)

TESTED_ANNY = "0.6.2"

# Local shape changes, each drawn with a small independent variance. They add limb, torso and head proportions
# that the six phenotype sliders cannot reach.
SYMMETRIC_CHANGES = (
    "measure-upperarm-length-incr", "measure-lowerarm-length-incr",
    "upperlegs-height-incr", "lowerlegs-height-incr",
    "torso-scale-vert-incr", "torso-scale-horiz-incr", "torso-scale-depth-incr",
    "hip-scale-horiz-incr", "hip-scale-depth-incr", "measure-shoulder-dist-incr",
    "measure-waist-circ-incr", "measure-hips-circ-incr", "stomach-tone-incr",
    "buttocks-volume-incr", "torso-vshape-incr", "measure-neck-height-incr",
    "measure-neck-circ-incr", "head-scale-vert-incr", "head-scale-horiz-incr",
    "head-scale-depth-incr", "measure-thigh-circ-incr", "measure-calf-circ-incr",
)  # fmt: skip
PAIRED_CHANGES = ("foot-scale-incr", "hand-scale-incr", "upperleg-fat-incr", "upperarm-fat-incr")
CHANGE_STD, CHANGE_LIMIT = 0.25, 0.7
BATCH = 40
"""Adults evaluated at once."""

HIDDEN_REGIONS = ("tongue", "mouth_cavity", "eye_back.L", "eye_back.R", "eye_cavity.L", "eye_cavity.R")
"""Surface inside the head that no camera sees."""


class AnnyMissingError(ImportError):
    """The `anny` package, the source of all shapes, is not installed."""


@dataclass(frozen=True)
class Population:
    """Adults in the rest pose (an A-pose) of the source model; metres, x left, y up, z forward."""

    vertices_m: FloatArray  # (N, V, 3) float32 closed body surface
    bone_heads_m: FloatArray  # (N, B, 3) float32 heads of the bones of `bone_names`
    bone_names: tuple[str, ...]  # (B,) source bones
    bone_weights: FloatArray  # (V, B) skinning weights of the source rig
    hm08_index: IntArray  # (V,) id of each vertex in the MakeHuman hm08 mesh
    faces: IntArray  # (F, 3) triangles
    hidden: BoolArray  # (F,) triangles inside mouth and eyes
    uv: FloatArray  # (T, 2) texture coordinates, origin bottom left
    uv_faces: IntArray  # (F, 3) triangles of the texture
    keypoint_rows: FloatArray  # (K, V) regressors of the surface keypoints

    def save(self, path: Path) -> None:
        """Write an uncompressed npz that `load` reads."""
        with path.open("wb") as stream:
            arrays: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
            np.savez(stream, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Population":
        """Read what `save` wrote.

        Raises ``FileNotFoundError``: there is no such file; ``ValueError``: an array is missing.
        """
        with np.load(path, allow_pickle=False) as data:
            missing = [f.name for f in fields(cls) if f.name not in data.files]
            if missing:
                raise ValueError(
                    f"{path} is no population file, it lacks {missing}: delete it to draw a new one"
                )
            arrays: dict[str, Any] = {f.name: data[f.name] for f in fields(cls)}
        arrays["bone_names"] = tuple(str(name) for name in arrays["bone_names"])
        return cls(**arrays)


def load_anny() -> Any:
    """The `anny` module; a version other than the tested one is only warned about.

    Raises ``AnnyMissingError``: `anny` is not installed.
    """
    try:
        anny = importlib.import_module("anny")
    except ModuleNotFoundError as error:
        if error.name != "anny":
            raise
        raise AnnyMissingError(
            "drawing adults needs the package `anny`, which is not installed; "
            "run `pip install kinestream[body-build]`, or give a saved population with --population"
        ) from error
    version = importlib.metadata.version("anny")
    if version != TESTED_ANNY:
        log.warning(
            "anny %s is installed, but the body is built and tested with anny %s: "
            "the shapes may differ; `pip install kinestream[body-build]` installs the tested version",
            version,
            TESTED_ANNY,
        )
    return anny


def draw_population(
    count: int, *, seed: int = 0, ages_years: tuple[float, float] = (18.0, 75.0), progress: Progress = silent
) -> Population:
    """Draw `count` adults of both sexes, uniformly over `ages_years`; the same seed gives the same adults.

    Raises ``AnnyMissingError``: `anny` is not installed.
    """
    anny = load_anny()
    labels = [*SYMMETRIC_CHANGES, *(side + name for name in PAIRED_CHANGES for side in ("l-", "r-"))]
    body = anny.Anny(phenotypes="all", topology="anny", local_changes=labels)
    full = anny.Anny(phenotypes="all", topology="makehuman-full", local_changes=labels)
    surface = body.base_mesh_vertex_indices.numpy()
    phenotypes, changes = _draw_attributes(body, count, seed, ages_years)
    vertices, heads = _evaluate(full, phenotypes, changes, count, surface, progress)
    segmentation = importlib.import_module("anny.face_segmentation")
    return Population(
        vertices_m=vertices,
        bone_heads_m=heads,
        bone_names=tuple(str(name) for name in full.bone_labels),
        bone_weights=_dense_weights(full)[surface],
        hm08_index=surface.astype(np.int32),
        faces=body.faces.numpy().astype(np.int32),
        hidden=segmentation.get_face_segmentation_mask(body, list(HIDDEN_REGIONS)).numpy(),
        uv=body.texture_coordinates.numpy().astype(np.float32),
        uv_faces=body.face_texture_coordinate_indices.numpy().astype(np.int32),
        keypoint_rows=_keypoint_rows(anny, surface),
    )


def _to_y_up(points: Any) -> FloatArray:
    """Axes of the source (z up, facing -y) to ours (y up, facing +z), float32."""
    xyz = points.float().numpy()
    return np.stack([xyz[..., 0], xyz[..., 2], -xyz[..., 1]], -1)


def _draw_attributes(model: Any, count: int, seed: int, ages_years: tuple[float, float]) -> tuple[Any, Any]:
    """Phenotype sliders from the calibrated distribution, and local changes."""
    distributions = importlib.import_module("anny.shape_distribution")
    generator = np.random.RandomState(seed)

    def scalar(value: float) -> torch.Tensor:
        return torch.tensor(float(value), dtype=model.dtype)

    def one_change() -> torch.Tensor:
        return torch.as_tensor(np.clip(generator.randn(count) * CHANGE_STD, -CHANGE_LIMIT, CHANGE_LIMIT))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the distributions of anny draw from the global generator
        distribution = distributions.SimpleShapeDistribution(
            model,
            morphological_age_distribution=torch.distributions.Uniform(
                scalar(ages_years[0]), scalar(ages_years[1])
            ),
            gender_distribution=torch.distributions.Beta(scalar(0.25), scalar(0.25)),
        )
        _, phenotypes = distribution.sample(count)
    changes = {name: one_change() for name in SYMMETRIC_CHANGES}
    for name in PAIRED_CHANGES:
        changes["l-" + name] = changes["r-" + name] = one_change()
    return phenotypes, changes


def _evaluate(
    model: Any, phenotypes: Any, changes: Any, count: int, surface: IntArray, progress: Progress
) -> tuple[FloatArray, FloatArray]:
    """Rest vertices of the `surface` and bone heads of all adults."""
    vertices, heads = [], []
    for start in range(0, count, BATCH):
        rows = slice(start, min(start + BATCH, count))
        identity = torch.eye(4, dtype=model.dtype).repeat(rows.stop - rows.start, model.bone_count, 1, 1)
        out = model(
            phenotype_kwargs={name: values[rows] for name, values in phenotypes.items()},
            local_changes_kwargs={name: values[rows] for name, values in changes.items()},
            pose_parameters=identity,
        )
        vertices.append(_to_y_up(out["rest_vertices"])[:, surface])
        heads.append(_to_y_up(out["rest_bone_heads"]))
        progress("drawing adults", rows.stop, count)
    return np.concatenate(vertices), np.concatenate(heads)


def _dense_weights(model: Any) -> FloatArray:
    """Skinning weights (V, B) of the full source mesh."""
    count = model.vertex_bone_indices.shape[0]
    weights = np.zeros((count, model.bone_count), np.float32)
    values = np.nan_to_num(model.vertex_bone_weights.float().numpy())
    np.add.at(weights, (np.arange(count)[:, None], model.vertex_bone_indices.numpy()), values)
    return weights


def _keypoint_rows(anny: Any, surface: IntArray) -> FloatArray:
    """Keypoint regressors (K, V) shipped with the package, restricted to the surface, in our order."""
    path = Path(anny.__file__).parent / "data" / "keypoints" / "coco.pth"
    table = torch.load(path, weights_only=True)
    missing = [name for name in KEYPOINT_NAMES if name not in table]
    if missing:
        raise ValueError(f"{path} lacks the keypoints {missing}; it holds {list(table)}")
    return np.stack([table[name][surface].numpy() for name in KEYPOINT_NAMES]).astype(np.float32)
