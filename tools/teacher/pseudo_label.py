"""Machine labels for photos and videos, off-line.

    python -m kinestream.tools.teacher.pseudo_label PATHS --out LABELS

Runs in an environment of its own (``pip install 'kinestream[teacher]'``: MediaPipe needs numpy < 2); nothing
else needs it. Each video, and each folder of photos, becomes ``LABELS/<name>.npz`` in the layout of
:mod:`kinestream.tools.teacher.labels`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import typer
from rich.console import Console

from kinestream.tools import options
from kinestream.tools.teacher.labels import Image, LabelRow, Teacher, save_labels
from kinestream.tools.teacher.people import PeopleLabeller

PHOTO_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
VIDEO_ENDINGS: Final = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")


def video_frames(path: Path, stride: int) -> Iterator[tuple[int, Image]]:
    """Every ``stride``-th frame (number, RGB) of a video; ``ValueError`` when it holds none."""
    capture = cv2.VideoCapture(str(path))
    index = 0
    try:
        while capture.grab():
            if index % stride == 0:
                decoded, frame = capture.retrieve()
                if decoded:
                    yield index, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise ValueError(f"{path}: no frame could be read; give a video that ffmpeg can decode")


def label_video(teacher: Teacher, path: Path, *, persons: int, stride: int) -> Iterator[LabelRow]:
    """Rows of a video, in order of frames."""
    people = PeopleLabeller(teacher, persons=persons)
    for frame, image in video_frames(path, stride):
        yield from _rows(people, image, path.name, frame)


def label_photos(teacher: Teacher, folder: Path, *, persons: int) -> Iterator[LabelRow]:
    """Rows of the photos of a folder, in order of names; ``ValueError`` names a photo that is broken."""
    for path in photos_of(folder):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{path}: not a readable picture; take it out of the folder, or convert it")
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        # nobody is followed from photo to photo
        yield from _rows(PeopleLabeller(teacher, persons=persons), rgb, path.name, -1)


def photos_of(folder: Path) -> list[Path]:
    """The photos of a folder by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_ENDINGS)


def _rows(people: PeopleLabeller, image: Image, name: str, frame: int) -> Iterator[LabelRow]:
    size = (image.shape[1], image.shape[0])
    seen = people(image)
    if not seen:
        yield LabelRow.nobody(name, frame, size)
    for person in seen:
        yield LabelRow.of(name, frame, size, person.person, person.landmarks, person.flip_error)


def label(teacher: Teacher, path: Path, out: Path, *, persons: int, stride: int) -> Path:
    """Label a video or a folder of photos, and return the label file."""
    if path.is_dir():
        if not photos_of(path):
            raise ValueError(f"{path}: no photo in it; known endings: {', '.join(PHOTO_ENDINGS)}")
        rows = label_photos(teacher, path, persons=persons)
    elif path.suffix.lower() in VIDEO_ENDINGS:
        rows = label_video(teacher, path, persons=persons, stride=stride)
    else:
        raise ValueError(f"{path}: neither a folder of photos nor a video ({', '.join(VIDEO_ENDINGS)})")
    target = out / f"{path.stem if path.is_file() else path.name}.npz"
    save_labels(target, list(rows))
    return target


def main(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Videos and folders of photos.")],
    out: options.OutFolder,
    persons: Annotated[int, typer.Option(min=1, help="People to look for in a picture.")] = 1,
    stride: Annotated[int, typer.Option(min=1, help="Label every n-th frame of a video.")] = 1,
) -> None:
    """Write machine labels of people in videos and photos."""
    from kinestream.tools.teacher.mediapipe_pose import MediaPipeTeacher

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        teacher = MediaPipeTeacher()
        for path in paths:
            console.print(f"{path.name}: {label(teacher, path, out, persons=persons, stride=stride)}")
    except (ImportError, ValueError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
