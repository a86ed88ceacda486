"""Open Images: boxes of people (``*-annotations-bbox.csv``), for the detector."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.trainer.data.annotated.annotated import AnnotationError, FloatArray

PERSON_CLASSES: Final[dict[str, str]] = {
    "/m/01g317": "Person", "/m/04yx4": "Man", "/m/03bt1vf": "Woman", "/m/01bl7v": "Boy", "/m/05r655": "Girl",
}  # fmt: skip
"""Machine names of the classes that are people."""

_COLUMNS: Final = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf", "IsDepiction")


@dataclass(frozen=True, eq=False)
class BoxedPhoto:
    """A picture with boxes of people."""

    path: Path
    boxes: FloatArray  # (N, 4) left, top, right, bottom as shares of the picture's sides
    group: npt.NDArray[np.bool_]  # (N,) several people that are not told apart: neither hit nor miss


def load_open_images(boxes: Path, images: Path) -> list[BoxedPhoto]:
    """The pictures of a box file that are there (``<images>/<ImageID>.jpg``), with their people.

    Pictures that show no real person get no box; depictions (drawings, statues) are left out. Raises
    :class:`AnnotationError` with the line for another layout.
    """
    boxes = Path(boxes)
    if not boxes.exists():
        raise FileNotFoundError(f"no boxes at {boxes}; see docs/training.md for the layout")
    found: dict[str, list[tuple[list[float], bool]]] = {}
    with boxes.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise AnnotationError(f"{boxes}: columns {missing} are missing; it has {reader.fieldnames}")
        for row in reader:
            entries = found.setdefault(row["ImageID"], [])
            if row["LabelName"] not in PERSON_CLASSES or row["IsDepiction"] == "1":
                continue
            try:
                sides = [float(row[name]) for name in ("XMin", "YMin", "XMax", "YMax")]
            except ValueError as error:
                raise AnnotationError(f"{boxes}, line {reader.line_num}: {error}") from error
            if not (0 <= sides[0] <= sides[2] <= 1 and 0 <= sides[1] <= sides[3] <= 1):
                raise AnnotationError(f"{boxes}, line {reader.line_num}: no box within the picture: {sides}")
            entries.append((sides, row["IsGroupOf"] == "1"))
    photos = []
    for name, entries in sorted(found.items()):
        path = Path(images) / f"{name}.jpg"
        if path.exists():
            sides_of = np.array([sides for sides, _ in entries], np.float64).reshape(-1, 4)
            photos.append(BoxedPhoto(path, sides_of, np.array([group for _, group in entries], np.bool_)))
    return photos
