"""Agreement with labels, detector counts: on made-up people whose numbers can be told beforehand."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.detect.detector import Detections
from kinestream.geometry.camera import Camera
from kinestream.pose import Person, PoseFrame
from kinestream.tools.bench.accuracy.clips import ClipLabels, detector_on_clip, false_alarms, overlay
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT

CAMERA = Camera(200, 240, (200.0, 200.0), (100.0, 120.0))


def limbs(left: float) -> np.ndarray:
    """(12, 2) limb joints of a person 100 px high whose box begins at ``left``."""
    column = np.repeat(np.linspace(60, 160, 6), 2)
    return np.stack([left + np.tile([0.0, 30.0], 6), column], 1)


def person(track: int, left: float) -> Person:
    keypoints = np.zeros((23, 3))
    keypoints[:, 2] = 2.0
    pixels = limbs(left)
    rows = [KEYPOINT_NAMES.index(name) for name in LIMB_JOINTS]
    keypoints[rows, :2] = (pixels - [100.0, 120.0]) / 200.0 * 2.0
    heat = np.zeros((23, 3), np.float32)
    heat[rows, :2] = pixels + [0.0, 20.0]
    unit = np.tile([1.0, 0, 0, 0], (21, 1))
    return Person(
        track_id=track,
        score=0.9,
        box_xyxy_px=np.array([left, 60, left + 30, 160]),
        root_quat_wxyz=unit[0],
        translation_m=np.array([0, 0, 2.0]),
        joint_quats_wxyz=unit,
        betas=np.zeros(10),
        joints_cam_m=np.tile([0, 0, 2.0], (24, 1)),
        joint_std_m=np.zeros(24),
        keypoints_cam_m=keypoints,
        keypoints_px=heat,
    )


def write_labels(path: Path, rows: list[tuple[int, float | None]], *, unsure: tuple[int, ...] = ()) -> None:
    """Rows of (frame, left edge or None for nobody); the rows ``unsure`` differ in the mirrored picture."""
    image = np.zeros((len(rows), 33, 4), np.float16)
    box = np.zeros((len(rows), 4), np.float32)
    for row, (_, left) in enumerate(rows):
        if left is not None:
            image[row, [LANDMARK_OF_KEYPOINT[n] for n in LIMB_JOINTS], :2] = limbs(left)
            image[row, :, 3] = 0.9
            image[row, LANDMARK_OF_KEYPOINT["left_wrist"]] = [-500, 0, 0, 0.1]  # hidden: not compared
            box[row] = [left, 60, left + 30, 160]
    np.savez(
        path,
        frame=np.array([frame for frame, _ in rows]),
        detected=np.array([left is not None for _, left in rows]),
        image=image,
        box=box,
        flip_err=np.where(np.isin(np.arange(len(rows)), unsure), 9.0, 0.05),
    )


def test_overlay_counts_people_not_frames(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.npz", [(0, 40.0), (0, 120.0), (2, 40.0), (3, 40.0), (4, None)], unsure=(2,))
    labels = ClipLabels.load(tmp_path / "a.npz")
    seen = [[person(0, 44.0), person(1, 119.0)], [], [person(0, 52.0)], [], [person(0, 40.0)]]
    frames = [
        PoseFrame(frame_index=k, t_capture_ns=k, camera=CAMERA, persons=tuple(people))
        for k, people in enumerate(seen)
    ]
    result = overlay(labels, frames)
    assert result["labelled_people"] == 4
    assert result["followed_percent"] == 75.0
    assert result["on_person_percent"] == 50.0  # off by 4, 1 and 12 px of 100; one is missed
    assert result["confirmed_people"] == 3
    assert result["confirmed_on_person_percent"] == pytest.approx(200 / 3)
    assert result["keypoints_on_person_percent"] == 0.0
    assert result["median_distance_percent"] == pytest.approx(4.0, abs=0.1)
    np.savez(tmp_path / "b.npz", frame=np.zeros(1))
    with pytest.raises(ValueError, match="detected"):
        ClipLabels.load(tmp_path / "b.npz")


def write_clip(path: Path, lefts: list[float | None]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 200, 240, "yuv420p"
        for left in lefts:
            picture = np.full((240, 200, 3), 60, np.uint8)
            if left is not None:
                picture[60:160, int(left) : int(left) + 30] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def white_boxes(image: np.ndarray) -> Detections:
    """Finds what is white."""
    rows, columns = np.nonzero(image.min(-1) > 200)
    if not len(rows):
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    box = np.array([[columns.min(), rows.min(), columns.max(), rows.max()]], np.float32)
    return Detections(box, np.ones(1, np.float32))


def test_detector_counts(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [40, 40, 90, None, 40])
    # frame 0 right, frame 1 nobody labelled, frame 2 elsewhere, frame 3 missed, frame 4 has no labels
    write_labels(tmp_path / "a.npz", [(0, 40.0), (1, None), (2, 140.0), (3, 40.0)], unsure=(3,))
    result = detector_on_clip(tmp_path / "a.mp4", ClipLabels.load(tmp_path / "a.npz"), white_boxes)
    assert result["labelled_people"] == 3
    assert result["recall_percent"] == pytest.approx(100 / 3)
    assert result["confirmed_recall_percent"] == 50.0
    assert result["precision_percent"] == pytest.approx(100 / 3)


def test_false_alarms_on_photos_without_people(tmp_path: Path) -> None:
    for name, value in {"a.png": 10, "b.png": 250, "c.jpg": 20, "d.jpg": 30}.items():
        cv2.imwrite(str(tmp_path / name), np.full((40, 60, 3), value, np.uint8))
    assert false_alarms(tmp_path, white_boxes, limit=None) == {"photos": 4, "false_alarm_percent": 25.0}
    (tmp_path / "e.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="e.jpg"):
        false_alarms(tmp_path, white_boxes, limit=None)
