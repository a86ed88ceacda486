"""Bodies without and with the measurement update by keypoints, over frames of a video.

    python -m kinestream.tools.pictures.keypoint_update CLIP... [--out docs/keypoint_update] [--model medium]

One JPEG a video: columns are frames spread over it, the upper row without the update, the lower row with it.
"""

from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import typer
from rich.console import Console

from kinestream.defaults import DEFAULT_MODEL
from kinestream.kernels.array_types import RgbImage
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame
from kinestream.tools.sinks.overlay_video import draw

TILE_PX: Final = (300, 360)
ROOM: Final = 1.25  # of the box of the largest person
QUALITY: Final = 82


def overlays(clip: Path, models: Models, *, keypoint_update: bool) -> list[tuple[RgbImage, PoseFrame]]:
    """Every frame with the bodies drawn over it, and the people in it."""
    drawn = []
    with Tracker(
        clip, policy="every", models=models, vertices=True, keypoint_update=keypoint_update
    ) as tracker:
        for frame, poses in tracker.frames():
            drawn.append((draw(frame.image_rgb, poses, tracker.faces), poses))
    return drawn


def tile(image: RgbImage, poses: PoseFrame) -> RgbImage:
    """The part of a picture (H, W, 3) around the largest person, in the size of a tile."""
    boxes = np.array([person.box_xyxy_px for person in poses])
    x0, y0, x1, y1 = boxes[np.argmax((boxes[:, 2:] - boxes[:, :2]).prod(1))]
    height = ROOM * max(y1 - y0, (x1 - x0) * TILE_PX[1] / TILE_PX[0])
    scale = TILE_PX[1] / height
    shift = np.array(TILE_PX) / 2 - scale * np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(cv2.warpAffine(image, matrix, TILE_PX, flags=cv2.INTER_AREA), np.uint8)


def sheet(clip: Path, models: Models, frames: int) -> RgbImage:
    """Rows without and with the update, a column a frame in which somebody is seen by both."""
    rows = [overlays(clip, models, keypoint_update=updated) for updated in (False, True)]
    both = [
        index for index, pair in enumerate(zip(*rows, strict=True)) if all(len(poses) for _, poses in pair)
    ]
    if not both:
        raise ValueError(f"{clip}: nobody was tracked in any frame")
    chosen = [both[i] for i in np.linspace(0, len(both) - 1, frames).round().astype(int)]
    return np.concatenate([np.concatenate([tile(*row[i]) for i in chosen], 1) for row in rows], 0)


def main(
    clips: Annotated[list[Path], typer.Argument(help="Videos.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("docs/keypoint_update"),
    model: Annotated[str, typer.Option(help="medium, large, or a file of weights.")] = DEFAULT_MODEL,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each video.")] = 8,
) -> None:
    """Track every video twice and write its sheet."""
    models = Models.load(regressor=model)
    out.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        path = out / f"{clip.stem}.jpg"
        picture = cv2.cvtColor(sheet(clip, models, frames), cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
            raise OSError(f"{path}: could not be written")
        Console().print(str(path))


if __name__ == "__main__":
    typer.run(main)
