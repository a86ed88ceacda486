"""Labels on which several teachers agree: keypoints of MediaPipe, EfficientPose and BodyPix, its parts.

    python -m kinestream.tools.teacher.agree --data DATA --photos NAME --teachers FOLDER --out LABELS

Reads ``DATA/images/NAME`` and its machine labels ``DATA/pseudo/NAME.npz`` and writes ``LABELS/NAME.npz`` in
the same layout. A keypoint is kept where two teachers or more see it in one place: there it moves to their
mean, and its visibility is the share of the teachers who agree. Feet, which only the first teacher knows, are
as sure as their ankles. ``parts`` (N, 64, 64) are labels of body parts, stretched over the whole photo; a
limb's pixels keep their side where the limb's ends are known and nearer than those of the other side, and
change it where they are clearly the other's. What was labelled so far is in ``LABELS/NAME.partial.npz``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS, PART_NAMES
from kinestream.tools import options
from kinestream.tools.teacher.labels import MASK_SIDE, Floats, Image
from kinestream.tools.teacher.tflite_teachers import BodyPix, EfficientPose
from kinestream.trainer.data.crops.crop_sample import PART_PERSON
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT, MIN_VISIBILITY

AGREEMENT: Final = 0.06
"""Largest distance that counts as agreement, as a share of the longer side of the person's box."""
SURE: Final = 0.3
"""Probability from which EfficientPose and BodyPix count as seeing a keypoint."""
REACH: Final = 0.15
"""Farthest that a pixel may be from the line between its limb's ends, as a share of the person's extent."""
CLEARLY: Final = 0.5
"""A pixel belongs to the other side where that limb is nearer than this share of its own limb's distance."""
SAVE_EVERY: Final = 100

Floats64 = npt.NDArray[np.float64]

_ENDS: Final = {
    "upper_arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"), "hand": ("wrist",),
    "thigh": ("hip", "knee"), "shin": ("knee", "ankle"), "foot": ("ankle",),
}  # fmt: skip
_FOOT: Final = ("heel", "big_toe", "small_toe")
_UPPER, _LOWER = 0.45, 0.65
"""Shares of the way from shoulders to hips above which the torso is upper, and below which lower torso."""


def agreed(answers: Sequence[Floats], extent_px: float) -> Floats:
    """Keypoints (23, 3) on which most of the answers (23, 3) agree; weight 0 where no two do.

    Args:
        answers: x, y and probability; those of 0 are no answers, and their teachers have no vote.
        extent_px: longer side of the person's box.

    """
    result = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    for row, seen in enumerate(np.stack(answers, 1)):
        seen = seen[seen[:, 2] > 0]
        if len(seen) < 2:
            continue
        near = np.linalg.norm(seen[:, None, :2] - seen[None, :, :2], axis=-1) <= AGREEMENT * extent_px
        votes = near.sum(1)
        if votes.max() >= 2:
            result[row, :2] = seen[near[votes.argmax()], :2].mean(0)
            result[row, 2] = votes.max() / len(seen)
    return result


def keypoints_of(landmarks: Floats) -> Floats:
    """The first teacher's landmarks (33, 4) as an answer (23, 3)."""
    answer = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    for name, landmark in LANDMARK_OF_KEYPOINT.items():
        seen = landmarks[landmark]
        answer[KEYPOINT_NAMES.index(name)] = (*seen[:2], seen[3] if seen[3] >= MIN_VISIBILITY else 0.0)
    return answer


def confirmed(landmarks: Floats, others: Sequence[Floats], extent_px: float) -> Floats:
    """Landmarks (33, 4) moved to where the teachers agree, with the agreement as visibility."""
    result, own = landmarks.astype(np.float32), keypoints_of(landmarks)
    found = agreed([own, *[np.where(other[:, 2:] >= SURE, other, 0.0) for other in others]], extent_px)
    for name, landmark in LANDMARK_OF_KEYPOINT.items():
        row = KEYPOINT_NAMES.index(name)
        side, _, joint = name.partition("_")
        if joint in _FOOT:
            ankle = found[KEYPOINT_NAMES.index(f"{side}_ankle"), 2]
            result[landmark, 3] = min(own[row, 2], ankle)
        else:
            result[landmark, 3] = found[row, 2]
            if found[row, 2] > 0:
                result[landmark, :2] = found[row, :2]
    return result


def kept_parts(parts: Image, keypoints: Floats, size: tuple[int, int]) -> Image:
    """Part labels (64, 64) of a photo of ``size`` (width, height) that agreed keypoints (23, 3) confirm.

    Limbs that the keypoints do not confirm, and a torso without shoulders and hips, become ``PART_PERSON``;
    other torsos are divided, but for a band around the waist.
    """
    result = parts.copy()
    places = {
        name: point[:2].astype(np.float64)
        for name, point in zip(KEYPOINT_NAMES, keypoints, strict=True)
        if point[2] > 0
    }
    reach = REACH * float(np.ptp(np.array([*places.values()]), axis=0).max()) if places else 0.0
    for limb, ends in _ENDS.items():
        labels = [1 + PART_NAMES.index(f"{side}_{limb}") for side in "lr"]
        rows, columns = np.nonzero(np.isin(parts, labels))
        pixels = _in_photo(rows, columns, size)
        far = np.stack([_distance(pixels, places, side, ends) for side in ("left", "right")])
        side = (parts[rows, columns] == labels[1]).astype(int)
        own, other = (far[which, np.arange(len(side))] for which in (side, 1 - side))
        change = np.isfinite(own) & (other < CLEARLY * own)
        sure = (np.where(change, other, own) <= reach) & (change | (own <= other))
        side = np.where(change, 1 - side, side)
        result[rows, columns] = np.where(sure, np.array(labels)[side], PART_PERSON)
    corners = [f"{side}_{joint}" for joint in ("shoulder", "hip") for side in ("left", "right")]
    torso = parts == PART_PERSON
    if set(corners) <= set(places) and torso.any():
        ends = np.array([places[name] for name in corners])
        top, bottom = ends[:2].mean(0), ends[2:].mean(0)
        rows, columns = np.nonzero(torso)
        pixels = _in_photo(rows, columns, size)
        axis = bottom - top
        share = (pixels - top) @ axis / max(float(axis @ axis), 1.0)
        halves = np.full(len(share), PART_PERSON)
        halves[share < _UPPER] = 1 + PART_NAMES.index("upper_torso")
        halves[share > _LOWER] = 1 + PART_NAMES.index("lower_torso")
        result[rows, columns] = halves
    return result


def _in_photo(rows: Any, columns: Any, size: tuple[int, int]) -> Floats64:
    """Pixels (N, 2) of the photo in the middle of cells of its part map."""
    middle: Floats64 = (np.stack([columns, rows], 1) + 0.5) * np.array(size) / MASK_SIDE - 0.5
    return middle


def _distance(pixels: Floats64, places: dict[str, Floats64], side: str, ends: tuple[str, ...]) -> Floats64:
    """Distance (N,) of pixels to one side's limb, infinite where one of its ends is not known."""
    if not {f"{side}_{joint}" for joint in ends} <= set(places):
        return np.full(len(pixels), np.inf)
    first, last = places[f"{side}_{ends[0]}"], places[f"{side}_{ends[-1]}"]
    axis = last - first
    share = ((pixels - first) @ axis / max(float(axis @ axis), 1e-9)).clip(0, 1)
    distance: Floats64 = np.linalg.norm(pixels - first - share[:, None] * axis, axis=1)
    return distance


def label(
    arrays: dict[str, Any], folder: Path, pose: EfficientPose, parts: BodyPix, partial: Path
) -> dict[str, Any]:
    """The label file of a photo set with what the teachers agree on; goes on from ``partial``."""
    count = len(arrays["files"])
    result = arrays | {"parts": np.zeros((count, MASK_SIDE, MASK_SIDE), np.uint8)}
    result["image"] = arrays["image"].astype(np.float32)
    first = 0
    if partial.exists():
        with np.load(partial, allow_pickle=False) as content:
            result |= {key: content[key] for key in ("image", "parts")}
            first = int(content["done"])
    for row in range(first, count):
        landmarks = result["image"][row]
        seen = landmarks[landmarks[:, 3] >= MIN_VISIBILITY, :2]
        if arrays["detected"][row] and len(seen) >= 2:
            photo = decode(packed_image(folder / str(arrays["files"][row])))
            keypoints, labels = parts(photo)
            extent = float(np.ptp(seen, axis=0).max())
            result["image"][row] = confirmed(landmarks, [pose(photo), keypoints], extent)
            sure = keypoints_of(result["image"][row])
            result["parts"][row] = kept_parts(labels, sure, photo.shape[1::-1])
        if (row + 1) % SAVE_EVERY == 0:
            _write(partial, {"image": result["image"], "parts": result["parts"], "done": np.int64(row + 1)})
    return result


def _write(path: Path, arrays: dict[str, Any]) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    unfinished.replace(path)


def main(
    data: options.Data,
    photos: Annotated[list[str], typer.Option(help="photo sets; repeatable")],
    teachers: Annotated[Path, typer.Option(help="folder with EfficientPoseII.tflite and bodypix*.tflite")],
    out: options.OutFolder,
) -> None:
    """Keep of machine labels what further teachers confirm, and add body parts."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    cv2.setNumThreads(1)
    try:
        bodypix = next(iter(sorted(teachers.glob("bodypix*.tflite"))), teachers / "bodypix.tflite")
        pose, parts = EfficientPose(teachers / "EfficientPoseII.tflite"), BodyPix(bodypix)
    except (ImportError, FileNotFoundError) as error:
        console.print(str(error), markup=False)
        raise typer.Exit(1) from error
    out.mkdir(parents=True, exist_ok=True)
    for name in photos:
        target, partial = out / f"{name}.npz", out / f"{name}.partial.npz"
        if not target.exists():
            with np.load(data / "pseudo" / f"{name}.npz", allow_pickle=False) as content:
                arrays = {key: content[key] for key in content.files}
            found = label(arrays, data / "images" / name, pose, parts, partial)
            _write(target, found)
            partial.unlink(missing_ok=True)
        console.print(f"{name}: {target}")


if __name__ == "__main__":
    typer.run(main)
