"""Contact sheet of a synthetic clip, with the labels drawn over the pictures.

    python -m kinestream.tools.pictures.scene_sheet --data DATA --mocap CACHE --out clip.png

Look for exploded meshes, floating hair, odd light, feet off the floor, and labels beside the picture.
"""

import itertools
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import typer

from kinestream.body.skeleton import KEYPOINT_EDGES
from kinestream.kernels.raster.overlay import PART_COLOURS
from kinestream.tools import options
from kinestream.tools.pictures.sheet import Picture, write_sheet
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import OUTSIDE, SEEN, Frame, PersonLabels
from kinestream.trainer.scenes.stage import SceneAssets

_PART_OPACITY: Final = 0.45
_STRIDE: Final = 5  # frames of a clip from one cell to the next


def draw_parts(image: Picture, part_map: npt.NDArray[np.uint8]) -> Picture:
    """Picture with the part map blended over it."""
    colours = PART_COLOURS[part_map].astype(np.float32)
    share = (part_map > 0)[..., None] * _PART_OPACITY
    return (image * (1 - share) + colours * share).astype(np.uint8)


def draw_keypoints(image: Picture, keypoints_px: npt.NDArray[Any], visibility: npt.NDArray[np.uint8]) -> None:
    """Draw keypoints (23, 2) into a picture: seen ones green, hidden ones red, none outside."""
    radius = max(1, image.shape[0] // 160)
    for a, b in KEYPOINT_EDGES:
        if min(visibility[a], visibility[b]) > OUTSIDE:
            ends = np.round(keypoints_px[[a, b]]).astype(int).tolist()
            cv2.line(image, ends[0], ends[1], (255, 255, 255), 1, cv2.LINE_AA)
    for (x, y), state in zip(keypoints_px, visibility, strict=True):
        if state > OUTSIDE:
            colour = (60, 220, 60) if state == SEEN else (240, 60, 60)
            cv2.circle(image, (round(float(x)), round(float(y))), radius, colour, -1, cv2.LINE_AA)


def draw_box(image: Picture, person: PersonLabels) -> None:
    """Draw the box of a person into a picture."""
    x0, y0, x1, y1 = np.round(person.box_xyxy_px).astype(int).tolist()
    cv2.rectangle(image, (x0, y0), (x1, y1), (255, 220, 0), 1)


def frame_cell(frame: Frame, size_px: tuple[int, int], *, labels: bool) -> Picture:
    """A full frame, fitted into a cell of this width and height."""
    image = frame.image.copy()
    if labels:
        image = draw_parts(image, frame.part_map)
        draw_keypoints(image, frame.person.keypoints_px, frame.person.visibility)
        draw_box(image, frame.person)
    scale = min(size_px[0] / image.shape[1], size_px[1] / image.shape[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cell = np.full((size_px[1], size_px[0], 3), 30, np.uint8)
    cell[: small.shape[0], : small.shape[1]] = small[: size_px[1], : size_px[0]]
    return cell


def main(
    data: options.Data,
    mocap: options.Mocap,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG to write.")],
    split: Annotated[str, typer.Option(help="Of the motions.")] = "train",
    seed: options.Seed = 0,
    count: Annotated[int, typer.Option(help="Cells.")] = 16,
    columns: Annotated[int, typer.Option(help="Cells in a row.")] = 4,
    labels: Annotated[bool, typer.Option(help="Draw the labels.")] = True,
    clean: Annotated[bool, typer.Option("--clean", help="No noise and no codec.")] = False,
) -> None:
    """Draw a synthetic clip with its labels."""
    augmenter = Augmenter(SceneConfig.clean() if clean else SceneConfig())
    assets, poses = SceneAssets.load(data), ClipPoses.load(mocap, split=split)
    frames = make_clip(assets, poses, augmenter, seed, frames=count * _STRIDE)
    shown = itertools.islice(frames, 0, None, _STRIDE)
    write_sheet(out, [frame_cell(frame, (360, 270), labels=labels) for frame in shown], columns=columns)


if __name__ == "__main__":
    typer.run(main)
