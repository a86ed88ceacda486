"""Clothing Co-Parsing (CCP): photos with masks of 59 classes, mapped onto what they tell of body parts.

Layout: ``images/NNNN.jpg``, ``masks/NNNN.png`` (8-bit class ids) and ``classes.txt`` (id and name a line).
Keypoints come from machine labels of the same file names. Research use.
"""

from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from kinestream.body.skeleton import KEYPOINT_NAMES, PART_NAMES
from kinestream.trainer.data.annotated.annotated import AnnotatedPerson, AnnotationError
from kinestream.trainer.data.crops.crop_sample import PART_PERSON, PART_UNKNOWN, Floats
from kinestream.trainer.data.photos.image_augment import Image
from kinestream.trainer.data.photos.pseudo import PseudoLabels

HEAD_CLASSES: Final = ("hair", "hat", "glasses", "sunglasses", "earrings")
SHOE_CLASSES: Final = (
    "boots", "clogs", "flats", "heels", "loafers", "pumps", "sandals", "shoes", "sneakers", "wedges",
)  # fmt: skip
CARRIED_CLASSES: Final = ("bag", "purse", "wallet", "accessories")
"""In the mask of the person, but not of the body."""

_FEET: Final = {
    "l_foot": ("left_big_toe", "left_heel", "left_ankle"),
    "r_foot": ("right_big_toe", "right_heel", "right_ankle"),
}


def load_clothing(folder: Path, labels: Path) -> list[AnnotatedPerson]:
    """The photos of ``folder`` that the machine labels know; ``FileNotFoundError`` without class names."""
    folder = Path(folder)
    table = label_table(folder / "classes.txt")
    pseudo = PseudoLabels.load(labels)
    people = []
    for row, file in enumerate(pseudo.files):
        keypoints = pseudo.keypoints[row]
        mask = folder / "masks" / f"{Path(file).stem}.png"
        people.append(
            AnnotatedPerson(
                folder / "images" / file, keypoints, part_map=partial(clothing_map, mask, table, keypoints)
            )
        )
    return people


def label_table(path: Path) -> Image:
    """Our part label (256,) of each class id; shoes count as person until a foot claims them.

    Raises ``FileNotFoundError`` and :class:`AnnotationError`.
    """
    if not path.exists():
        raise FileNotFoundError(f"no class names at {path}; see docs/training.md for the layout")
    table = np.full(256, PART_UNKNOWN, np.uint8)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split(maxsplit=1)
        if not fields:
            continue
        if len(fields) != 2 or not fields[0].isdigit() or int(fields[0]) > 255:
            raise AnnotationError(f"{path}, line {number}: expected an id and a name, found {line!r}")
        name = fields[1].strip().lower()
        if name in ("null", "background"):
            label = 0
        elif name in CARRIED_CLASSES:
            label = PART_UNKNOWN
        elif name in HEAD_CLASSES:
            label = 1 + PART_NAMES.index("head")
        else:
            label = PART_PERSON
        table[int(fields[0])] = label
    return table


def clothing_map(mask: Path, table: Image, keypoints: Floats) -> Image:
    """Part map (H, W) of a class mask; shoes go to the foot whose keypoints are nearer."""
    classes = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    if classes is None:
        raise FileNotFoundError(f"no readable mask at {mask}")
    names = mask.parent.parent / "classes.txt"
    labels = table[classes]
    shoes = np.isin(classes, _ids(names, SHOE_CLASSES))
    places = {foot: _place(keypoints, parts) for foot, parts in _FEET.items()}
    if shoes.any() and all(place is not None for place in places.values()):
        rows, columns = np.nonzero(shoes)
        points = np.stack([columns, rows], 1)
        gaps = np.stack([np.linalg.norm(points - place, axis=1) for place in places.values()], 1)
        feet = np.array([1 + PART_NAMES.index(foot) for foot in places], np.uint8)
        labels[rows, columns] = feet[gaps.argmin(1)]
    return labels


def _ids(path: Path, names: tuple[str, ...]) -> list[int]:
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return [int(number) for number, name in lines if name.strip().lower() in names]


def _place(keypoints: Floats, names: tuple[str, ...]) -> Floats | None:
    rows = keypoints[[KEYPOINT_NAMES.index(name) for name in names]]
    labelled = rows[rows[:, 2] > 0, :2]
    return labelled.mean(0) if len(labelled) else None
