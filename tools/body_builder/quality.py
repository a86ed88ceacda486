"""How well bodies bend: volume, cross-sections, stretch and folds over extreme poses.

``python -m kinestream.tools.body_builder.quality first.npz second.npz`` prints one table per pose, one row
per body.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from kinestream.body.npz import read_npz
from kinestream.body.skeleton import PARENTS
from kinestream.tools.body_builder.arrays import FloatArray, IntArray, unit
from kinestream.tools.body_builder.correctives import pose_features
from kinestream.tools.body_builder.mesh import directed_edges, volumes
from kinestream.tools.body_builder.poses import bone_motion, named_rotations
from kinestream.tools.body_builder.skeleton import JOINT_ID
from kinestream.tools.body_builder.skinning import skin

EXTREME_POSES: dict[str, FloatArray] = {
    "arms down": named_rotations(shoulder=(0, 0, -75)),
    "arms up": named_rotations(shoulder=(0, 0, 85)),
    "arms up with collar": named_rotations(collar=(0, 0, 28), shoulder=(0, 0, 57)),
    "arms forward": named_rotations(shoulder=(0, -85, 0)),
    "arms crossed": named_rotations(shoulder=(0, -110, -20), elbow=(0, -60, 0)),
    "hands on head": named_rotations(shoulder=(-40, 0, 50), elbow=(0, -120, 0)),
    "elbows 140": named_rotations(elbow=(0, -140, 0)),
    "knees 120": named_rotations(knee=(120, 0, 0)),
    "sitting": named_rotations(hip=(-90, 0, 0), knee=(90, 0, 0), shoulder=(0, 0, -70)),
    "squat": named_rotations(
        hip=(-115, 15, 0), knee=(125, 0, 0), ankle=(-30, 0, 0), spine1=(25, 0, 0), spine2=(15, 0, 0)
    ),
    "bending forward": named_rotations(
        hip=(-55, 0, 0), spine1=(25, 0, 0), spine2=(20, 0, 0), spine3=(15, 0, 0), shoulder=(0, 0, -60)
    ),
    "head turned": named_rotations(neck=(0, 35, 0), head=(0, 40, 0)),
}
LIMB_WEIGHT = 0.5
"""Vertices which the two bones at a joint move by more than this belong to the cross-section of the joint."""


@dataclass(frozen=True)
class BodyFile:
    """The arrays of a body that decide how it bends."""

    template_m: FloatArray
    pose_directions_m: FloatArray
    weights: FloatArray
    joint_regressor: FloatArray
    faces: IntArray

    @classmethod
    def load(cls, path: Path) -> "BodyFile":
        """Read a body file; raises `kinestream.body.npz.BodyFileError`."""
        keys = ("v_template", "posedirs", "weights", "J_regressor")
        arrays = read_npz(path, required=(*keys, "f"))
        template, pose, weights, regressor = (arrays[key].astype(np.float64) for key in keys)
        weights = weights / weights.sum(1, keepdims=True)
        return cls(template, pose, weights, regressor, arrays["f"].astype(np.int64))

    def posed(self, rotations: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Vertices (V, 3) and joints (24, 3) of the mean body for local `rotations` (24, 3, 3)."""
        joints = self.joint_regressor @ self.template_m
        world, shift = bone_motion(rotations, joints)
        rest = self.template_m + self.pose_directions_m @ pose_features(rotations)
        return skin(rest, self.weights, world, shift), np.einsum("kij,kj->ki", world, joints) + shift


@dataclass(frozen=True)
class BendFigures:
    """Figures of one pose against the same body in the T-pose."""

    volume_change_percent: float  # of the whole body; a living body keeps its volume
    shrunk_edges: float  # 1st percentile of the edge length ratio among edges that change (ideal 1)
    stretched_edges: float  # 99th percentile of the same
    folded_faces: int  # triangles that point against their skinned direction
    elbow_section: float  # cross-section of the left elbow in the bisecting plane, relative to the T-pose
    knee_section: float  # the same for the left knee


def bend_figures(body: BodyFile, rotations: FloatArray) -> BendFigures:
    """Measure one pose, local `rotations` (24, 3, 3)."""
    rest_pose = named_rotations()
    rest, rest_joints = body.posed(rest_pose)
    posed, joints = body.posed(rotations)
    edges = directed_edges(body.faces)
    length_rest, length = (np.linalg.norm(p[edges[:, 0]] - p[edges[:, 1]], axis=1) for p in (rest, posed))
    ratio = length / np.maximum(length_rest, 1e-9)
    changed = ratio[np.abs(ratio - 1) > 0.02] if np.any(np.abs(ratio - 1) > 0.02) else np.ones(1)
    volume_rest, volume = volumes(np.stack([rest, posed]), body.faces)

    def section(name: str) -> float:
        joint = JOINT_ID[name]
        limb = body.weights[:, [PARENTS[joint], joint]].sum(1) > LIMB_WEIGHT
        limb_faces = body.faces[limb[body.faces].all(1)]
        now = section_area(posed, joints, limb_faces, joint)
        return now / section_area(rest, rest_joints, limb_faces, joint)

    return BendFigures(
        volume_change_percent=100 * (float(volume / volume_rest) - 1),
        shrunk_edges=float(np.percentile(changed, 1)),
        stretched_edges=float(np.percentile(changed, 99)),
        folded_faces=folded_faces(body, rest, posed, rotations),
        elbow_section=section("left_elbow"),
        knee_section=section("left_knee"),
    )


def folded_faces(body: BodyFile, rest_m: FloatArray, posed_m: FloatArray, rotations: FloatArray) -> int:
    """Triangles whose normal turned by more than 90° away from where their bones carry it."""
    world, _ = bone_motion(rotations, body.joint_regressor @ body.template_m)
    weights = body.weights[body.faces].mean(1)
    blend = np.einsum("fk,kij->fij", weights, world)
    expected = np.einsum("fij,fj->fi", blend, _face_normals(rest_m, body.faces))
    return int((np.einsum("fi,fi->f", expected, _face_normals(posed_m, body.faces)) < 0).sum())


def section_area(points_m: FloatArray, joints_m: FloatArray, faces: IntArray, joint: int) -> float:
    """Area of the cut through a limb in the plane that halves the angle between the two bones at `joint`.

    `faces` (F, 3) are the triangles of the limb.
    """
    child = PARENTS.index(joint)
    incoming, outgoing = joints_m[joint] - joints_m[PARENTS[joint]], joints_m[child] - joints_m[joint]
    normal = unit(unit(incoming) + unit(outgoing))
    local = points_m - joints_m[joint]
    height = local @ normal
    above = height > 0
    crossing = faces[above[faces].sum(1) % 3 != 0]
    doubled_area = np.zeros(3)
    for triangle in crossing:
        # Walk around the triangle from below to above and back: an oriented segment of the cut.
        ends: dict[bool, FloatArray] = {}
        for k in range(3):
            a, b = triangle[k], triangle[(k + 1) % 3]
            if above[a] != above[b]:
                ends[bool(above[b])] = local[a] + (local[b] - local[a]) * height[a] / (height[a] - height[b])
        doubled_area += np.cross(ends[True], ends[False])
    return abs(float(doubled_area @ normal)) / 2


def _face_normals(points_m: FloatArray, faces: IntArray) -> FloatArray:
    a, b, c = (points_m[faces[:, k]] for k in range(3))
    return np.asarray(np.cross(b - a, c - a))


def main(bodies: Annotated[list[Path], typer.Argument(help="Body files to compare.")]) -> None:
    """Print the figures of every extreme pose for each body file."""
    console = Console()
    loaded = {str(path): BodyFile.load(path) for path in bodies}
    for pose, rotations in EXTREME_POSES.items():
        table = Table("body", *BendFigures.__annotations__, title=pose)
        for name, body in loaded.items():
            values = vars(bend_figures(body, rotations)).values()
            table.add_row(name, *(f"{value:.3g}" for value in values))
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
