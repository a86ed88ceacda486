r"""Cut people out of labelled video frames into a photo set for training.

    python -m kinestream.trainer.prepare.cut_frames clip.mp4 LABELS/clip.npz
        --out DATA/images/clip_frames --labels DATA/pseudo/clip_frames.npz

Reads what ``tools/teacher/pseudo_label.py`` writes for videos and adds to the photo set: one square-ish
picture a person and frame, with landmarks and silhouette in pixels of that picture.
"""

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import typer

from kinestream.capture import open_source

MARGIN = 0.175
"""Added on each side, as a share of the longer side of the box around the landmarks."""
LONGER_PX = 256
_KEYS = ("files", "size", "detected", "image", "mask", "flip_err")

Arrays = dict[str, npt.NDArray[Any]]


def cut(
    image: npt.NDArray[np.uint8], landmarks: npt.NDArray[Any], mask: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """One person's picture, landmarks (33, 4) and silhouette bits (512,) in it.

    Args:
        image: (H, W, 3) the frame.
        landmarks: (33, 4) x, y, z, visibility in pixels of the frame.
        mask: (512,) 64 x 64 bits stretched over the frame.

    """
    height, width = image.shape[:2]
    points = landmarks[:, :2].astype(np.float64)
    low, high = points.min(0), points.max(0)
    room = MARGIN * float((high - low).max())
    left, top = np.clip(low - room, 0, [width - 2, height - 2]).astype(int)
    right, bottom = np.clip(high + room, [left + 2, top + 2], [width, height]).astype(int)
    scale = min(1.0, LONGER_PX / max(right - left, bottom - top))
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    picture = np.asarray(
        cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA), np.uint8
    )
    moved = landmarks.astype(np.float32).copy()
    moved[:, :2] = (points - [left, top] + 0.5) * (np.array(size) / [right - left, bottom - top]) - 0.5
    bits = np.unpackbits(mask).reshape(64, 64) * np.uint8(255)
    across, down = (right - left) / width, (bottom - top) / height
    place = np.array(
        [[across, 0, left / width * 64 + across / 2 - 0.5], [0, down, top / height * 64 + down / 2 - 0.5]]
    )
    seen = cv2.warpAffine(bits, place, (64, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return picture, moved, np.packbits(np.asarray(seen) > 127)


def frames_to_photos(video: Path, labels: Arrays, folder: Path, *, every: int) -> Arrays:
    """Write the pictures of every ``every``-th labelled frame; returns their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.flatnonzero(labels["detected"] & (labels["frame"] % every == 0))
    rows: dict[str, list[Any]] = {key: [] for key in _KEYS}
    with open_source(video, policy="every") as source:
        while (frame := source.read()) is not None:
            for row in chosen[labels["frame"][chosen] == frame.index]:
                picture, landmarks, bits = cut(frame.image_rgb, labels["image"][row], labels["mask"][row])
                name = f"{video.stem}_{frame.index:05d}_{int(labels['person'][row])}.jpg"
                cv2.imwrite(str(folder / name), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
                values = (name, picture.shape[1::-1], True, landmarks, bits, labels["flip_err"][row])
                for key, value in zip(_KEYS, values, strict=True):
                    rows[key].append(value)
    return {
        "files": np.array(rows["files"], str),
        "size": np.array(rows["size"], np.int16).reshape(-1, 2),
        "detected": np.array(rows["detected"], bool),
        "image": np.array(rows["image"], np.float16).reshape(-1, 33, 4),
        "mask": np.array(rows["mask"], np.uint8).reshape(-1, 512),
        "flip_err": np.array(rows["flip_err"], np.float16),
    }


def main(
    video: Annotated[Path, typer.Argument(help="the video")],
    video_labels: Annotated[Path, typer.Argument(help="its labels (npz)")],
    out: Annotated[Path, typer.Option(help="folder of the photo set")],
    labels: Annotated[Path, typer.Option(help="label file of the photo set; added to when it exists")],
    every: Annotated[int, typer.Option(min=1, help="take every n-th frame")] = 1,
) -> None:
    """Add the people of one video to a photo set."""
    with np.load(video_labels, allow_pickle=False) as content:
        found = frames_to_photos(video, {key: content[key] for key in content.files}, out, every=every)
    if labels.exists():
        with np.load(labels, allow_pickle=False) as before:
            kept = ~np.isin(before["files"], found["files"])
            found = {key: np.concatenate([before[key][kept], found[key]]) for key in _KEYS}
    order = np.argsort(found["files"])
    labels.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(labels, **{key: value[order] for key, value in found.items()})


if __name__ == "__main__":
    typer.run(main)
