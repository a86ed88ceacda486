"""LSP-Extended: photos of sports poses with 14 hand-labelled joints each.

For research: used for evaluation, and as a source of training crops for whoever may; the shipped weights have
seen nothing of it.

Layout: ``images/lspet/images/*.jpg``, ``labels.json`` and ``val.txt`` (one file name per line).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.trainer.data.annotated.annotated import AnnotatedPerson, keypoint_array

Floats = npt.NDArray[np.float64]

LIMB_JOINTS = tuple(
    f"{side}_{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
"""The 12 joints that LSP-Extended and our keypoints share."""

LIMB_KEYPOINTS = tuple(KEYPOINT_NAMES.index(name) for name in LIMB_JOINTS)
"""Their places among our keypoints."""


@dataclass(frozen=True)
class LspetPhoto:
    """One labelled photo."""

    path: Path  # of the picture
    joints_px: Floats  # (12, 2) in the order of ``LIMB_JOINTS``
    labelled: npt.NDArray[np.bool_]  # (12,) bool

    @property
    def torso_px(self) -> float | None:
        """Mean labelled diagonal from shoulder to opposite hip, else a side; None without a torso."""
        for pairs in (((0, 7), (1, 6)), ((0, 6), (1, 7))):
            lengths = [
                float(np.linalg.norm(self.joints_px[a] - self.joints_px[b]))
                for a, b in pairs
                if self.labelled[a] and self.labelled[b]
            ]
            if lengths:
                return max(float(np.mean(lengths)), 1.0)
        return None


def training_people(folder: Path) -> list[AnnotatedPerson]:
    """The photos outside of the validation list as sources of crops."""
    held_out = {photo.path for photo in load_lspet(folder)}
    people = []
    for photo in load_lspet(folder, split=None):
        if photo.path not in held_out:
            rows = zip(LIMB_JOINTS, photo.joints_px.tolist(), photo.labelled, strict=True)
            points = {name: (*joint, 1.0) for name, joint, labelled in rows if labelled}
            people.append(AnnotatedPerson(photo.path, keypoint_array(points)))
    return people


def load_lspet(folder: Path, *, split: str | None = "val.txt") -> list[LspetPhoto]:
    """Labelled photos of ``folder``; ``split`` names a list of files in it, None takes all.

    Raises ``FileNotFoundError`` and, for labels in another form, ``ValueError``.
    """
    folder = Path(folder)
    labels = folder / "labels.json"
    if not labels.exists():
        raise FileNotFoundError(f"no labels.json in {folder}; see docs/training.md for the layout")
    content = json.loads(labels.read_text(encoding="utf-8"))
    try:
        columns = [content["joint_names"].index(name) for name in LIMB_JOINTS]
        records = content["images"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{labels}: not LSP-Extended labels ({error})") from error
    chosen = None if split is None else set((folder / split).read_text(encoding="utf-8").split())
    photos = []
    for record in records:
        if chosen is None or record["file"] in chosen:
            joints = np.array(record["joints"], np.float64)[columns]
            photos.append(LspetPhoto(folder / "images" / record["file"], joints[:, :2], joints[:, 2] > 0))
    return photos
