"""Labels on which teachers agree, with teachers whose answers are known."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS, PART_NAMES
from kinestream.tools.teacher import agree
from kinestream.tools.teacher.tflite_teachers import PART_OF_BODYPIX, TfliteModel, _labels, fitted
from kinestream.trainer.data.crops.crop_sample import PART_PERSON
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT, PseudoLabels

WRIST = KEYPOINT_NAMES.index("left_wrist")
HEEL = LANDMARK_OF_KEYPOINT["left_heel"]


def answer(**points: tuple[float, float, float]) -> np.ndarray:
    found = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    for name, point in points.items():
        found[KEYPOINT_NAMES.index(name)] = point
    return found


def test_two_of_three_outvote_the_third_and_one_alone_does_not_count() -> None:
    near = [answer(left_wrist=(x, 50, 0.9), left_knee=(40 * x, 50, 0.9)) for x in (50, 52, 90)]
    found = agree.agreed(near, 100.0)
    assert found[WRIST].tolist() == pytest.approx([51, 50, 2 / 3])
    assert found[KEYPOINT_NAMES.index("left_knee"), 2] == 0
    pair = agree.agreed([near[0], near[1], answer()], 100.0)
    assert pair[WRIST, 2] == 1  # whoever does not see it has no vote
    assert agree.agreed([near[0], answer()], 100.0)[:, 2].max() == 0


def test_landmarks_move_to_the_agreement_and_feet_follow_their_ankles() -> None:
    landmarks = np.full((33, 4), 50, np.float32)
    landmarks[:, 3] = 0.8
    other = answer(left_wrist=(54, 50, 0.9), left_ankle=(90, 50, 0.9), right_ankle=(52, 50, 0.9))
    unsure = answer(left_wrist=(50, 90, 0.1))
    found = agree.confirmed(landmarks, [other, unsure], 100.0)
    assert found[LANDMARK_OF_KEYPOINT["left_wrist"]].tolist() == pytest.approx([52, 50, 50, 1])
    assert found[LANDMARK_OF_KEYPOINT["left_ankle"], 3] == found[HEEL, 3] == 0
    assert found[LANDMARK_OF_KEYPOINT["right_heel"], 3] == pytest.approx(0.8)


def test_limbs_stay_where_their_ends_are_and_change_sides_where_these_clearly_say_so() -> None:
    left, right, thigh = (1 + PART_NAMES.index(n) for n in ("l_forearm", "r_forearm", "r_thigh"))
    arms = {
        f"{side}_{joint}": (x, y, 1)
        for side, x in (("left", 96), ("right", 32))
        for joint, y in (("elbow", 20), ("wrist", 60))
    }
    parts = np.zeros((64, 64), np.uint8)
    parts[15:20, 45:52] = left  # at the left arm
    parts[20:25, 45:52] = right  # of the wrong side
    parts[15:20, 14:18], parts[15:20, 30:34] = right, right  # at the right arm, and between the two
    parts[15:20, 60:] = left  # too far away
    parts[50:, 40:] = thigh  # of which nothing is known
    kept = agree.kept_parts(parts, answer(**arms), (128, 128))
    assert (kept[15:25, 45:52] == left).all() and (kept[15:20, 14:18] == right).all()
    assert (kept[15:20, 33:34] == PART_PERSON).all() and (kept[50:, 40:] == PART_PERSON).all()
    assert (kept[15:20, 60:] == PART_PERSON).all() and (kept[:15] == 0).all()
    alone = {name: point for name, point in arms.items() if name.startswith("right")}
    kept = agree.kept_parts(parts, answer(**alone), (128, 128))
    assert (kept[15:20, 14:18] == right).all() and (kept[15:20, 45:52] == PART_PERSON).all()
    assert (kept[20:25, 45:52] == PART_PERSON).all()


def test_heads_stay_and_torsos_are_divided_where_their_corners_are_known() -> None:
    head = 1 + PART_NAMES.index("head")
    parts = np.zeros((64, 64), np.uint8)
    parts[0:4], parts[20:40] = head, PART_PERSON
    kept = agree.kept_parts(parts, answer(left_elbow=(10, 10, 1)), (128, 128))
    assert (kept == parts).all()
    heights = {"shoulder": 40, "hip": 80}
    corners = {f"{side}_{joint}": (64, y, 1) for side in ("left", "right") for joint, y in heights.items()}
    kept = agree.kept_parts(parts, answer(**corners), (128, 128))
    assert (kept[20:28] == 1 + PART_NAMES.index("upper_torso")).all()
    assert (kept[34:40] == 1 + PART_NAMES.index("lower_torso")).all()
    assert (kept[30:32] == PART_PERSON).all()


def test_every_part_of_bodypix_is_one_of_ours_or_torso() -> None:
    assert len(PART_OF_BODYPIX) == 24 and (PART_OF_BODYPIX == PART_PERSON).sum() == 2
    assert PART_OF_BODYPIX[10] == 1 + PART_NAMES.index("l_hand")
    assert PART_OF_BODYPIX[23] == 1 + PART_NAMES.index("r_foot")


def test_scores_land_where_the_photo_shows_them() -> None:
    image = np.zeros((200, 100, 3), np.uint8)
    square, matrix = fitted(image, 360)
    assert square.shape == (360, 360, 3) and square[180, 5].tolist() == [128] * 3
    cells = np.stack(np.meshgrid(np.arange(23), np.arange(23)), -1) * 16.0
    in_photo = (cells - matrix[:, 2]) / matrix[0, 0]
    answers = {"float_segments": np.where(in_photo[..., 1:] > 100, 4.0, -4.0).astype(np.float32)}
    heat = np.zeros((23, 23, 24), np.float32)
    heat[..., 10] = np.where(in_photo[..., 0] > 50, 5, 0)
    heat[..., 23] = np.where(in_photo[..., 0] > 50, 0, 5)
    labels = _labels(answers | {"float_part_heatmaps": heat}, matrix, image.shape[:2])
    assert (labels[:28] == 0).all()
    assert (labels[36:, :24] == PART_OF_BODYPIX[23]).all() and (labels[36:, 40:] == PART_OF_BODYPIX[10]).all()


class Known:
    """A teacher with one answer; counts how often it is asked."""

    def __init__(self, *given: object) -> None:
        self.given, self.asked = given, 0

    def __call__(self, image: np.ndarray) -> object:
        self.asked += 1
        return self.given if len(self.given) > 1 else self.given[0]


def test_a_photo_set_is_labelled_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agree, "SAVE_EVERY", 2)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.full((90, 60, 3), 99, np.uint8))
    image = np.zeros((3, 33, 4), np.float16)
    image[:, :, 0], image[:, :, 1], image[:, :, 3] = np.arange(33), 2 * np.arange(33), 0.9
    arrays = {
        "files": np.array([f"{n}.jpg" for n in range(3)]), "size": np.full((3, 2), (60, 90), np.int16),
        "detected": np.array([True, False, True]), "image": image,
        "mask": np.zeros((3, 512), np.uint8), "flip_err": np.zeros(3, np.float16),
    }  # fmt: skip
    own = agree.keypoints_of(image[0].astype(np.float32))
    head = np.full((64, 64), 1, np.uint8)
    pose, parts, partial = Known(own), Known(own, head), tmp_path / "p.npz"
    found = agree.label(arrays, tmp_path, pose, parts, partial)
    assert pose.asked == 2 and partial.exists()
    again = agree.label(arrays, tmp_path, pose, parts, partial)
    assert pose.asked == 3  # only the last photo
    np.testing.assert_array_equal(again["image"], found["image"])
    agree._write(tmp_path / "set.npz", found)
    labels = PseudoLabels.load(tmp_path / "set.npz")
    assert labels.parts is not None and labels.parts.shape == (2, 64, 64) and (labels.parts == 1).all()
    assert labels.keypoints[0, WRIST, 2] == 1


def test_a_missing_teacher_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="EfficientPoseII"):
        TfliteModel(tmp_path / "EfficientPoseII.tflite")
    result = CliRunner().invoke(
        _app(),
        ["--data", str(tmp_path), "--photos", "a", "--teachers", str(tmp_path), "--out", str(tmp_path)],
    )
    assert result.exit_code == 1


def _app() -> object:
    import typer

    app = typer.Typer()
    app.command()(agree.main)
    return app
