"""Contact sheets of synthetic scenes, with the labels drawn over the pictures.

    python -m kinestream.tools.pictures.scene_sheet crops  --data DATA --mocap CACHE --out crops.png
        [--seed 0] [--no-labels]
    python -m kinestream.tools.pictures.scene_sheet frames --data DATA --mocap CACHE --out frames.png
    python -m kinestream.tools.pictures.scene_sheet clip   --data DATA --mocap CACHE --out clip.png

Look for exploded meshes, floating hair, odd light, feet off the floor, and labels beside the picture.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_EDGES
from kinestream.kernels.raster.overlay import PART_COLOURS
from kinestream.tools.pictures.contact_sheet import tile
from kinestream.trainer.scenes.assets import data_folder
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.generator import SceneGenerator
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import OUTSIDE, SEEN, Frame, PersonLabels
from kinestream.trainer.scenes.stage import SceneAssets

_PART_OPACITY: Final = 0.45
_STRIDE: Final = 5  # frames of a clip from one cell to the next
_Picture = npt.NDArray[np.uint8]


def draw_parts(image: _Picture, part_map: npt.NDArray[np.uint8]) -> _Picture:
    """Picture (BGR) with the part map blended over it."""
    colours = PART_COLOURS[part_map][..., ::-1].astype(np.float32)
    share = (part_map > 0)[..., None] * _PART_OPACITY
    return (image * (1 - share) + colours * share).astype(np.uint8)


def draw_keypoints(
    image: _Picture, keypoints_px: npt.NDArray[Any], visibility: npt.NDArray[np.uint8]
) -> None:
    """Draw keypoints (23, 2) into a picture (BGR): seen ones green, hidden ones red, none outside."""
    radius = max(1, image.shape[0] // 160)
    for a, b in KEYPOINT_EDGES:
        if min(visibility[a], visibility[b]) > OUTSIDE:
            ends = np.round(keypoints_px[[a, b]]).astype(int).tolist()
            cv2.line(image, ends[0], ends[1], (255, 255, 255), 1, cv2.LINE_AA)
    for (x, y), state in zip(keypoints_px, visibility, strict=True):
        if state > OUTSIDE:
            colour = (60, 220, 60) if state == SEEN else (60, 60, 240)
            cv2.circle(image, (round(float(x)), round(float(y))), radius, colour, -1, cv2.LINE_AA)


def draw_box(image: _Picture, person: PersonLabels) -> None:
    """Draw the box of a person into a picture (BGR)."""
    x0, y0, x1, y1 = np.round(person.box_xyxy_px).astype(int).tolist()
    cv2.rectangle(image, (x0, y0), (x1, y1), (0, 220, 255), 1)


def crop_cells(generator: SceneGenerator, seed: int, count: int, *, labels: bool) -> list[_Picture]:
    """Crops as cells (BGR)."""
    cells = []
    for i in range(count):
        sample = generator.crop(seed + i)
        cell = _bgr(sample.image)
        if labels:
            cell = draw_parts(cell, sample.part_map)
            draw_keypoints(cell, sample.keypoints_crop_px, sample.person.visibility)
        cells.append(cell)
    return cells


def frame_cell(frame: Frame, size_px: tuple[int, int], *, labels: bool) -> _Picture:
    """A full frame, fitted into a cell of this width and height (BGR)."""
    image = _bgr(frame.image)
    if labels:
        image = draw_parts(image, frame.part_map)
        for person in frame.people:
            draw_keypoints(image, person.keypoints_px, person.visibility)
            draw_box(image, person)
    scale = min(size_px[0] / image.shape[1], size_px[1] / image.shape[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cell = np.full((size_px[1], size_px[0], 3), 30, np.uint8)
    cell[: small.shape[0], : small.shape[1]] = small[: size_px[1], : size_px[0]]
    return cell


def main() -> None:
    """Entry point of `python -m kinestream.tools.pictures.scene_sheet`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["crops", "frames", "clip"])
    parser.add_argument("--data", type=Path, default=None, help="data folder (default: KINESTREAM_DATA)")
    parser.add_argument(
        "--mocap", type=Path, required=True, help="cache of `python -m kinestream.trainer.prepare.mocap`"
    )
    parser.add_argument("--split", default="train")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--columns", type=int, default=None)
    parser.add_argument("--no-labels", action="store_true")
    parser.add_argument("--clean", action="store_true", help="no occluders, noise, blur or codec")
    arguments = parser.parse_args()
    labels = not arguments.no_labels
    config = SceneConfig.clean() if arguments.clean else SceneConfig()
    poses = ClipPoses.load(arguments.mocap, split=arguments.split)
    generator = SceneGenerator(SceneAssets.load(data_folder(arguments.data)), poses, config)
    if arguments.what == "crops":
        cells = crop_cells(generator, arguments.seed, arguments.count or 64, labels=labels)
    elif arguments.what == "frames":
        frames = (generator.frame(arguments.seed + i) for i in range(arguments.count or 16))
        cells = [frame_cell(frame, (480, 360), labels=labels) for frame in frames]
    else:
        clip = generator.clip(arguments.seed, frames=(arguments.count or 16) * _STRIDE)
        shown = itertools.islice(clip, 0, None, _STRIDE)
        cells = [frame_cell(frame, (360, 270), labels=labels) for frame in shown]
    columns = arguments.columns or {"crops": 8, "frames": 4, "clip": 4}[arguments.what]
    if not cv2.imwrite(str(arguments.out), tile(cells, columns=columns)):
        raise OSError(f"could not write the sheet to {arguments.out}; does its folder exist?")


def _bgr(image: _Picture) -> _Picture:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)


if __name__ == "__main__":
    main()
