"""Make the moving picture of the README: the embedded clip, tracked, beside the same body from another side.

    python -m kinestream.tools.pictures.readme [--out docs/demo.webp]

Left the picture with the keypoints, in the middle the body over it, right the body alone, walked around.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from kinestream.kernels.array_types import RgbImage
from kinestream.kernels.raster.overlay import PALETTE, overlay_meshes
from kinestream.pipeline import Tracker
from kinestream.pose import Person, PoseFrame
from kinestream.tools.metrics.clip import CLIP, ClipTruth
from kinestream.tools.pictures.video import write_video
from kinestream.tools.sinks.overlay_video import draw

MAX_BYTES: Final = 1_500_000
PANEL_PX: Final = (320, 300)
TURN_DEG: Final = 120.0
BACKGROUND: Final = (24, 27, 33)
MARGIN: Final = 1.25
PART: Final = 0.68  # of the picture's height is shown
CONFIDENT: Final = 0.3


def panels(stride: int) -> Iterator[RgbImage]:
    """Every ``stride``-th frame of the clip as one wide picture."""
    truth = ClipTruth.load()
    size_px = truth.camera.width_px, truth.camera.height_px
    with Tracker(CLIP, camera=truth.camera, vertices=True) as tracking:
        for frame, poses in tracking.frames():
            if frame.index % stride:
                continue
            share = frame.index / len(truth.joints_cam_m)
            box = window(truth.keypoints_px[frame.index], size_px)
            yield np.concatenate(
                [
                    cut(with_keypoints(frame.image_rgb, poses), box),
                    cut(draw(frame.image_rgb, poses, tracking.faces), box),
                    around(poses, tracking.faces, TURN_DEG * share),
                ],
                axis=1,
            )


def window(keypoints_px: npt.NDArray[np.floating], size_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a part of the picture around the person, in the shape of a panel."""
    height = int(PART * size_px[1])
    width = height * PANEL_PX[0] // PANEL_PX[1]
    middle = keypoints_px.mean(0) - np.array([width, height]) / 2
    left, top = np.clip(middle, 0, np.array(size_px) - (width, height)).astype(int).tolist()
    return left, top, left + width, top + height


def cut(image: RgbImage, box: tuple[int, int, int, int]) -> RgbImage:
    """That part, as large as a panel."""
    left, top, right, bottom = box
    return np.asarray(
        cv2.resize(image[top:bottom, left:right], PANEL_PX, interpolation=cv2.INTER_AREA), np.uint8
    )


def with_keypoints(image: RgbImage, poses: PoseFrame) -> RgbImage:
    """The picture with a dot for every confident keypoint."""
    image = image.copy()
    for person in poses:
        colour = PALETTE[person.track_id % len(PALETTE)]
        for x, y, confidence in person.keypoints_px:
            if confidence > CONFIDENT:
                cv2.circle(image, (int(x), int(y)), 6, (0, 0, 0), -1, cv2.LINE_AA)
                cv2.circle(image, (int(x), int(y)), 4, colour, -1, cv2.LINE_AA)
    return image


def around(poses: PoseFrame, faces: npt.NDArray[np.int64], turn_deg: float) -> RgbImage:
    """Everybody alone, seen from a camera that has gone ``turn_deg`` around them."""
    width, height = PANEL_PX
    blank = np.full((height, width, 3), BACKGROUND, np.uint8)
    people = [person for person in poses if person.vertices_cam_m is not None]
    if not people:
        return blank
    focal = 1.6 * height
    vertices = [turned(person, np.radians(turn_deg), 1.8 * MARGIN * focal / height) for person in people]
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    colours = [PALETTE[person.track_id % len(PALETTE)] for person in people]
    return overlay_meshes(blank, vertices, faces, K, colours=colours, opacity=1.0)


def turned(person: Person, turn_rad: float, distance_m: float) -> npt.NDArray[np.float32]:
    """The mesh turned about the vertical through the pelvis, at this distance before the camera."""
    assert person.vertices_cam_m is not None
    points = person.vertices_cam_m - person.translation_m
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return (points @ rotation.T + [0, 0, distance_m]).astype(np.float32)


def main(
    out: Annotated[Path, typer.Option(help="RgbImage to write.")] = Path("docs/demo.webp"),
    stride: Annotated[int, typer.Option(min=1, help="Take every so many frames.")] = 2,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the WebP.")] = 60,
) -> None:
    """Track the clip and write the picture; exit code 1 where it is larger than a README should load."""
    coding = {"quality": str(quality), "compression_level": "6"}
    write_video(out, panels(stride), fps=Fraction(30, stride), codec="libwebp_anim", options=coding)
    size = out.stat().st_size
    Console().print(f"{out}: {size / 1000:.0f} kB")
    if size > MAX_BYTES:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
