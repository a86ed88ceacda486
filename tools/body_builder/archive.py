"""The body file: what is stored, how it is written, and the mesh that other files are bound to."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinestream.body.npz import read_npz
from kinestream.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PARENTS, PART_NAMES
from kinestream.tools.body_builder.arrays import FloatArray, IntArray

log = logging.getLogger(__name__)

FORMAT = "kinestream-body 1"
SAME_TEMPLATE_M, SAME_DIRECTION_M = 1e-6, 5e-5
"""A rebuilt template or (float16) shape direction as close as this to the bound one differs by rounding."""


@dataclass(frozen=True)
class BoundMesh:
    """The mesh and shape space of an existing body file, to which garments and other assets may be bound."""

    hm08_index: IntArray  # (V,) id of each vertex in the MakeHuman hm08 mesh
    faces: IntArray  # (F, 3) triangles
    uv: FloatArray  # (T, 2) texture coordinates
    uv_faces: IntArray  # (F, 3) triangles of the texture
    template_m: FloatArray  # (V, 3) float32 mean body
    shape_directions_m: FloatArray  # (V, 3, S) float16 metres per standard deviation

    @classmethod
    def load(cls, path: Path) -> "BoundMesh":
        """Read the mesh of a body file; raises `kinestream.body.npz.BodyFileError`."""
        keys = ("hm08_vertex_index", "f", "uv", "uv_faces", "v_template", "shapedirs")
        arrays = read_npz(path, required=keys)
        return cls(*(arrays[key] for key in keys))

    def settle(self, template_m: FloatArray, shape_directions_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The bound template and directions, bit for bit, for rebuilt ones that differ by rounding only.

        Linear algebra libraries round differently on different processors, which would change the hash of
        the template that bound assets check.

        Raises ``ValueError``: the rebuilt body is another body.
        """
        for what, rebuilt, bound, limit_m in (
            ("mean body", template_m, self.template_m, SAME_TEMPLATE_M),
            ("shape space", shape_directions_m, self.shape_directions_m, SAME_DIRECTION_M),
        ):
            gap_m = float(np.abs(rebuilt - bound.astype(np.float64)).max())
            if gap_m > limit_m:
                raise ValueError(
                    f"the rebuilt {what} is up to {1000 * gap_m:.4f} mm away from that of the kept mesh "
                    f"(expected at most {1000 * limit_m:.4f} mm): the population, the seed or the version "
                    "of anny differs. Use the values that the mesh was made with, or --new-mesh "
                    "(assets bound to the old mesh need rebinding then)"
                )
            log.info("%s kept from the bound mesh; rebuilt it differs by up to %.2g m", what, gap_m)
        return self.template_m, self.shape_directions_m


@dataclass(frozen=True)
class BodyArrays:
    """A finished body in double precision; see `write_body` for what is stored.

    V vertices, F triangles, S shape components, T texture coordinates.
    """

    template_m: FloatArray  # (V, 3)
    shape_directions_m: FloatArray  # (V, 3, S)
    shape_variance: FloatArray  # (S,)
    pose_directions_m: FloatArray  # (V, 3, 207)
    joint_regressor: FloatArray  # (24, V)
    keypoint_regressor: FloatArray  # (23, V)
    weights: FloatArray  # (V, 24)
    faces: IntArray  # (F, 3)
    part_labels: IntArray  # (V,)
    uv: FloatArray  # (T, 2)
    uv_faces: IntArray  # (F, 3)
    mirror_index: IntArray  # (V,)
    hm08_index: IntArray  # (V,)


def write_body(path: Path, body: BodyArrays) -> int:
    """Write the body as a compressed npz in the array layout of SMPL files; returns its size in bytes."""
    parents = np.where(np.array(PARENTS) < 0, 2**32 - 1, PARENTS).astype(np.uint32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            format=np.array(FORMAT),
            v_template=body.template_m.astype(np.float32),
            shapedirs=body.shape_directions_m.astype(np.float16),
            posedirs=body.pose_directions_m.astype(np.float16),
            J_regressor=body.joint_regressor.astype(np.float32),
            weights=body.weights.astype(np.float16),
            kintree_table=np.stack([parents, np.arange(len(PARENTS), dtype=np.uint32)]),
            f=body.faces.astype(np.uint32),
            joint_names=np.array(JOINT_NAMES),
            part_labels=body.part_labels.astype(np.uint8),
            part_names=np.array(PART_NAMES),
            keypoint_regressor=body.keypoint_regressor.astype(np.float32),
            keypoint_names=np.array(KEYPOINT_NAMES),
            uv=body.uv.astype(np.float32),
            uv_faces=body.uv_faces.astype(np.uint32),
            mirror_index=body.mirror_index.astype(np.int32),
            shape_variance=body.shape_variance.astype(np.float32),
            hm08_vertex_index=body.hm08_index.astype(np.int32),
        )
    return path.stat().st_size


def template_sha256(template_m: FloatArray) -> str:
    """Hash of the float32 bytes of a template (V, 3), by which bound assets name their body."""
    return hashlib.sha256(template_m.astype(np.float32).tobytes()).hexdigest()
