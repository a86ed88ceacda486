"""Accuracy of the whole tracker on video, and of the detector.

* ``overlay``: real clips with machine labels (``tools/teacher/pseudo_label.py``). For every person labelled
  in a frame, the nearest tracked body of that frame: mean distance of its projected limb joints to the
  visible labels (12 joints, visibility from 0.5), over the height of the label's box. ``on_person_percent``
  is the share of labelled people with less than 8 %; a person without any body counts as missed. The labels
  are a model's answers, not the truth; hips lie elsewhere by convention. ``confirmed_...`` are the same of
  those labels that the model repeats in the mirrored picture, as training asks of its labels.
* ``detector``: recall and precision at an overlap (intersection over union) of 0.5 against the boxes of the
  same labels, and the share of photos without people in which something is found. Precision is a lower bound:
  people without a label count as false.
* ``rendered_clip``: a rendered clip with known bodies; MPJPE, PA-MPJPE and acceleration error of the tracked
  body, filter included, over the frames in which one is there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.detect.detector import Detector, PersonDetector
from kinestream.geometry.boxes import iou
from kinestream.geometry.camera import Camera
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import Person, PoseFrame
from kinestream.tools.bench.accuracy.sets import video_frames
from kinestream.tools.metrics.clip import ClipTruth
from kinestream.tools.metrics.motion import acceleration_error
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT, MAX_FLIP_ERROR
from kinestream.trainer.metrics import aligned_error, root_error

FloatArray = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ON_PERSON: Final = 0.08
OVERLAP: Final = 0.5
MIN_VISIBILITY: Final = 0.5

_LANDMARKS: Final = [LANDMARK_OF_KEYPOINT[name] for name in LIMB_JOINTS]
_KEYPOINTS: Final = [KEYPOINT_NAMES.index(name) for name in LIMB_JOINTS]
_KEYS: Final = ("frame", "detected", "image", "box", "flip_err")


@dataclass(frozen=True, eq=False)
class ClipLabels:
    """People that the off-line teacher found in a clip, by frame; frames without anybody have none."""

    points_px: dict[int, FloatArray]  # (P, 12, 3) limb joints with visibility
    boxes: dict[int, FloatArray]  # (P, 4)
    confirmed: dict[int, Flags]  # (P,) whether the teacher agrees with itself on the mirrored picture

    @classmethod
    def load(cls, path: Path) -> "ClipLabels":
        """Read a label file of a video; ``ValueError`` when it is none."""
        with np.load(path, allow_pickle=False) as content:
            missing = [key for key in _KEYS if key not in content.files]
            if missing:
                raise ValueError(f"{path}: no label file of a video, keys {missing} are missing")
            frame, found, image, box, flip_error = (content[key] for key in _KEYS)
        points: dict[int, FloatArray] = {}
        boxes: dict[int, FloatArray] = {}
        confirmed: dict[int, Flags] = {}
        for number in np.unique(frame):
            rows = (frame == number) & found
            points[int(number)] = image[rows][:, _LANDMARKS][..., [0, 1, 3]].astype(np.float64)
            boxes[int(number)] = box[rows].astype(np.float64)
            confirmed[int(number)] = flip_error[rows] <= MAX_FLIP_ERROR
        return cls(points, boxes, confirmed)


def overlay(labels: ClipLabels, frames: Iterable[PoseFrame]) -> dict[str, Any]:
    """Agreement of the tracked bodies with the labels of a clip; ``frames`` are those of a tracker."""
    body_gaps: list[float] = []
    keypoint_gaps: list[float] = []
    confirmed: list[bool] = []
    for frame in frames:
        index = frame.frame_index
        confirmed += [bool(flag) for flag in labels.confirmed.get(index, ())]
        for points, box in zip(labels.points_px.get(index, ()), labels.boxes.get(index, ()), strict=True):
            body_gaps.append(_nearest(points, box, (_projected(p, frame.camera) for p in frame.persons)))
            keypoint_gaps.append(
                _nearest(points, box, (p.keypoints_px[_KEYPOINTS, :2] for p in frame.persons))
            )
    gaps, sure = np.array(body_gaps), np.array(confirmed, np.bool_)
    met = np.isfinite(gaps)
    return {
        "labelled_people": len(gaps),
        "confirmed_people": int(sure.sum()),
        "followed_percent": _percent(met),
        "on_person_percent": _percent(gaps < ON_PERSON),
        "confirmed_on_person_percent": _percent(gaps[sure] < ON_PERSON),
        "keypoints_on_person_percent": _percent(np.array(keypoint_gaps) < ON_PERSON),
        "median_distance_percent": 100 * float(np.median(gaps[met])) if met.any() else float("nan"),
    }


def _projected(person: Person, camera: Camera) -> FloatArray:
    """Limb joints (12, 2) of the body in the picture."""
    return np.asarray(camera.project(person.keypoints_cam_m[_KEYPOINTS]), np.float64)


def _nearest(points: FloatArray, box: FloatArray, candidates: Iterable[FloatArray]) -> float:
    """Smallest mean distance of candidates to visible points, in heights of the box; inf without any."""
    seen = points[:, 2] >= MIN_VISIBILITY
    height = max(float(box[3] - box[1]), 1.0)
    gaps = [
        float(np.linalg.norm(candidate[seen] - points[seen, :2], axis=1).mean()) / height
        for candidate in candidates
        if seen.any()
    ]
    return min(gaps, default=float("inf"))


def detector_on_clip(clip: Path, labels: ClipLabels, detector: Detector) -> dict[str, Any]:
    """Recall and precision of single frames against the labels' boxes."""
    found: list[bool] = []
    confirmed: list[bool] = []
    answers = 0
    for index, image in enumerate(video_frames(clip)):
        if index not in labels.boxes:
            continue
        boxes = detector(image).boxes_xyxy_px
        answers += len(boxes)
        found += _found(labels.boxes[index], boxes).tolist()
        confirmed += labels.confirmed[index].tolist()
    hit, sure = np.array(found, np.bool_), np.array(confirmed, np.bool_)
    return {
        "labelled_people": len(hit),
        "recall_percent": _percent(hit),
        "confirmed_recall_percent": _percent(hit[sure]),
        "precision_percent": 100 * int(hit.sum()) / answers if answers else float("nan"),
    }


def _percent(flags: Flags) -> float:
    """How many of some are true; not a number of none."""
    return 100 * float(flags.mean()) if len(flags) else float("nan")


def _found(truth: FloatArray, answers: npt.NDArray[np.floating]) -> Flags:
    """Which of the true boxes an answer overlaps enough; each answer counts once, best first."""
    found = np.zeros(len(truth), np.bool_)
    overlap = iou(truth, answers).copy() if len(truth) and len(answers) else np.zeros((0, 0))
    while overlap.size and overlap.max() >= OVERLAP:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[row], overlap[:, column] = -1, -1
        found[row] = True
    return found


def false_alarms(folder: Path, detector: Detector, *, limit: int | None) -> dict[str, Any]:
    """Share of photos without people in which the detector finds someone."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))[:limit]
    if not paths:
        raise ValueError(f"{folder}: no photo in it")
    alarms = 0
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{path}: not a readable picture")
        alarms += len(detector(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))) > 0
    return {"photos": len(paths), "false_alarm_percent": 100 * alarms / len(paths)}


def rendered_clip(video: Path, truth: Path, models: Models) -> dict[str, Any]:
    """Errors of the tracked body on a rendered clip, whose ``truth`` is as in ``tracker/assets/demo.npz``."""
    known = ClipTruth.load(truth)
    joints = known.joints_cam_m.astype(np.float64)
    rows, estimates = [], []
    with Tracker(video, policy="every", camera=known.camera, models=models) as tracker:
        for frame in tracker:
            if frame.persons and frame.frame_index < len(joints):
                best = max(frame.persons, key=lambda person: person.score)
                rows.append(frame.frame_index)
                estimates.append(best.joints_cam_m.astype(np.float64))
    if len(rows) < 3:
        raise ValueError(f"{video}: the body was found in {len(rows)} frames only; nothing to compare")
    guess, true, times = np.array(estimates), joints[rows], known.times_s[rows]
    return {
        "frames": len(rows),
        "found_percent": 100 * len(rows) / len(joints),
        "mpjpe_mm": 1000 * float(root_error(guess, true).mean()),
        "pa_mpjpe_mm": 1000 * float(aligned_error(guess, true).mean()),
        "acceleration_error_mps2": acceleration_error(times, guess - guess[:, :1], true - true[:, :1]),
    }


def clips(
    folder: Path, labels: Path, photos: Path, models: Models, *, limit: int | None
) -> dict[str, dict[str, Any]]:
    """All of the above for every labelled clip of a folder."""
    results: dict[str, dict[str, Any]] = {}
    detector = PersonDetector.load()
    for path in sorted(labels.glob("*.npz")):
        clip = next((c for c in sorted(folder.glob(f"{path.stem}.*")) if c.suffix != ".npz"), None)
        if clip is None:
            raise FileNotFoundError(f"{path} labels a clip that is not in {folder}")
        known = ClipLabels.load(path)
        with Tracker(clip, policy="every", models=models) as tracker:
            results[f"overlay/{path.stem}"] = overlay(known, tracker)
        results[f"detector/{path.stem}"] = detector_on_clip(clip, known, detector)
    if photos.is_dir():
        results["detector/without people"] = false_alarms(photos, detector, limit=limit)
    return results
