"""Contact sheet of the body model: one picture that shows shape, skinning and parts at a glance.

    python -m kinestream.tools.pictures.contact_sheet --out body.png [--body BODY.npz] [--parts]

Each cell is one body in a pose or a shape. Look for creases, collapsed joints and swapped sides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES, NUM_BETAS, NUM_JOINTS
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.kernels.raster import Target, cpu, plain_mesh
from kinestream.kernels.raster.normals import vertex_normals
from kinestream.kernels.raster.overlay import PART_COLOURS, overlay_meshes
from kinestream.tools import options
from kinestream.tools.pictures.sheet import write_sheet

CELL_PX: Final = 256
_DISTANCE_M: Final = 4.2

Turn = tuple[float, float, float]  # axis-angle in degrees, in the body's axes


@dataclass(frozen=True)
class Cell:
    """One body of the sheet: joint turns by name, shape, and how far it turns to its left (degrees)."""

    title: str
    turns: Mapping[str, Turn] = field(default_factory=dict)
    betas: Mapping[int, float] = field(default_factory=dict)
    heading_deg: float = 0.0


_ARMS_DOWN: Final[dict[str, Turn]] = {
    "left_shoulder": (0, 0, -68),
    "right_shoulder": (0, 0, 68),
    "left_elbow": (0, -12, 0),
    "right_elbow": (0, 12, 0),
}

CELLS: Final[tuple[Cell, ...]] = (
    Cell("T-pose"),
    Cell("T-pose, left side", heading_deg=-90),
    Cell("T-pose, back", heading_deg=180),
    Cell("standing", _ARMS_DOWN, heading_deg=-25),
    Cell("walking", {
        **_ARMS_DOWN, "left_shoulder": (35, 10, -68), "right_shoulder": (-30, -10, 68),
        "left_hip": (22, 0, 0), "right_hip": (-32, 0, 0), "left_knee": (28, 0, 0),
        "right_knee": (10, 0, 0), "left_ankle": (12, 0, 0),
    }, heading_deg=-55),
    Cell("sitting", {
        **_ARMS_DOWN, "left_hip": (-85, 0, 0), "right_hip": (-85, 0, 0), "left_knee": (85, 0, 0),
        "right_knee": (85, 0, 0), "left_elbow": (0, -70, 0), "right_elbow": (0, 70, 0),
    }, heading_deg=-50),
    Cell("arms up", {"left_shoulder": (0, 0, 75), "right_shoulder": (0, 0, -75)}),
    Cell("squat", {
        "left_hip": (-110, 15, 12), "right_hip": (-110, -15, -12), "left_knee": (125, 0, 0),
        "right_knee": (125, 0, 0), "left_ankle": (-30, 0, 0), "right_ankle": (-30, 0, 0),
        "spine1": (25, 0, 0), "left_shoulder": (0, -80, 0), "right_shoulder": (0, 80, 0),
    }, heading_deg=-60),
    Cell("bent elbows", {"left_elbow": (0, -120, 0), "right_elbow": (0, 120, 0)}),
    Cell("twist", {
        **_ARMS_DOWN, "spine1": (0, 25, 0), "spine2": (0, 25, 0), "spine3": (0, 20, 0), "head": (0, 35, 0),
    }),
    Cell("bow", {**_ARMS_DOWN, "spine1": (35, 0, 0), "spine2": (30, 0, 0), "neck": (25, 0, 0)}, {}, -70),
    Cell("kick", {**_ARMS_DOWN, "right_hip": (-95, 0, 0), "right_knee": (15, 0, 0)}, {}, -60),
    *(Cell(f"beta {index} = {value:+d}", _ARMS_DOWN, {index: float(value)}, -25)
      for index in range(6) for value in (-2, 2)),
)  # fmt: skip


def render_cell(model: BodyModel, cell: Cell, *, parts: bool = False) -> npt.NDArray[np.uint8]:
    """Picture (CELL_PX, CELL_PX, 3) RGB of one body; with `parts`, each of the 15 parts has its colour."""
    turns = torch.zeros(NUM_JOINTS, 3)
    for name, turn in cell.turns.items():
        turns[JOINT_NAMES.index(name)] = torch.deg2rad(torch.tensor(turn, dtype=torch.float32))
    rotations = matrix_from_axis_angle(turns)
    heading = torch.tensor([0.0, math.radians(cell.heading_deg), 0.0])
    rotations[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ matrix_from_axis_angle(heading)
    betas = torch.zeros(1, NUM_BETAS)
    for index, value in cell.betas.items():
        betas[0, index] = value
    camera = Camera.from_fov(CELL_PX, CELL_PX, fov_deg=28, axis="vertical")
    with torch.no_grad():
        body = model(betas, rotations[None], torch.tensor([[0.0, 0.0, _DISTANCE_M]]))
    vertices = body.vertices_m[0].numpy()
    centre = (vertices.min(0) + vertices.max(0)) / 2
    vertices = (vertices - [centre[0], centre[1], 0]).astype(np.float32)
    faces = model.faces.numpy().astype(np.int32)
    image = np.full((CELL_PX, CELL_PX, 3), 244, np.uint8)
    if parts:
        image = _part_picture(vertices, faces, model.part_labels.numpy(), camera.K, image)
    else:
        image = overlay_meshes(
            image, [vertices], faces, camera.K, colours=[(120, 165, 205)], opacity=1, samples=3
        )
    cv2.putText(
        image, cell.title, (6, CELL_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA
    )
    return image


def _part_picture(
    vertices: npt.NDArray[np.float32],
    faces: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int64],
    K: npt.NDArray[np.float64],
    image: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    target = Target(CELL_PX, CELL_PX)
    light = np.clip(0.35 - 0.65 * vertex_normals(vertices, faces)[:, 2:], 0.3, 1)
    cpu.draw(target, plain_mesh(vertices, faces, light=light, part=labels.astype(np.uint8)), K)
    picture = PART_COLOURS[target.part]
    shown = target.part > 0
    image[shown] = (picture * np.clip(target.colour, 0, 1) ** 0.5).astype(np.uint8)[shown]
    return image


def main(
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG to write.")],
    body: options.Body = None,
    parts: Annotated[bool, typer.Option("--parts", help="Colour the parts instead of shading.")] = False,
    columns: Annotated[int, typer.Option(min=1, help="Bodies in a row.")] = 8,
) -> None:
    """Draw the body model in many poses and shapes."""
    model = BodyModel.load(body)
    write_sheet(out, [render_cell(model, cell, parts=parts) for cell in CELLS], columns=columns)


if __name__ == "__main__":
    typer.run(main)
