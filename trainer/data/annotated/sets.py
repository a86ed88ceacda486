"""Data sets with human annotations by name, each in its published layout below one folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from kinestream.trainer.data.annotated.annotated import AnnotatedPerson
from kinestream.trainer.data.annotated.coco import load_coco
from kinestream.trainer.data.annotated.human36m import load_human36m
from kinestream.trainer.data.annotated.mpi_inf_3dhp import load_3dhp
from kinestream.trainer.data.annotated.threedpw import load_3dpw
from kinestream.trainer.data.photos.clothing import load_clothing
from kinestream.trainer.data.photos.lspet import training_people

TRAINING_SUBJECTS: Final = ("S1", "S5", "S6", "S7", "S8")
"""The usual training half of Human3.6M."""


def _coco(folder: Path) -> list[AnnotatedPerson]:
    return load_coco(folder / "annotations" / "person_keypoints_train2017.json", folder / "train2017")


def _densepose(folder: Path) -> list[AnnotatedPerson]:
    return load_coco(folder / "annotations" / "densepose_coco_2014_train.json", folder / "train2014")


def _clothing(folder: Path) -> list[AnnotatedPerson]:
    return load_clothing(folder, folder.parent.parent / "pseudo" / f"{folder.name}.npz")


def _human36m(folder: Path) -> list[AnnotatedPerson]:
    return [person for view in load_human36m(folder, TRAINING_SUBJECTS) for person in view.people()]


def _threedhp(folder: Path) -> list[AnnotatedPerson]:
    return [person for view in load_3dhp(folder) for person in view.people()]


def _threedpw(folder: Path) -> list[AnnotatedPerson]:
    return [person for sequence in load_3dpw(folder, "train") for person in sequence.people()]


SETS: Final[dict[str, Callable[[Path], list[AnnotatedPerson]]]] = {
    "coco": _coco,
    "densepose": _densepose,
    "clothing": _clothing,
    "lspet": training_people,
    "human36m": _human36m,
    "3dhp": _threedhp,
    "3dpw": _threedpw,
}


def annotated_people(spec: str) -> list[AnnotatedPerson]:
    """The training people of ``name=folder``; ``ValueError`` for an unknown name or another form."""
    name, sign, folder = spec.partition("=")
    if not sign or name not in SETS:
        raise ValueError(f"expected NAME=FOLDER with NAME one of {', '.join(SETS)}; found {spec!r}")
    return SETS[name](Path(folder))
