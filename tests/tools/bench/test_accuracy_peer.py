"""MediaPipe's labels scored like our own answers: right where they are, wrong where nobody was found."""

import json
from pathlib import Path

import numpy as np
import pytest

from kinestream.tools.bench.accuracy.peer import bodypose3d, lspet
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT

COLUMNS = [LANDMARK_OF_KEYPOINT[name] for name in LIMB_JOINTS]


def test_photos_without_a_person_count_as_wrong(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    joints = rng.uniform(20, 180, (2, 12, 2))
    records = [
        {"file": f"{row}.jpg", "joints": [[*point, 1] for point in joints[row].tolist()]} for row in range(2)
    ]
    (tmp_path / "labels.json").write_text(json.dumps({"joint_names": list(LIMB_JOINTS), "images": records}))
    (tmp_path / "val.txt").write_text("0.jpg\n1.jpg\n")
    image = np.zeros((2, 33, 4))
    image[:, COLUMNS, :2] = joints
    image[0, COLUMNS[0], 0] += 1000.0  # one joint of the photo that counts is far off
    labels = tmp_path / "labels.npz"
    np.savez(labels, files=["0.jpg", "1.jpg"], detected=[True, False], image=image)
    result = lspet(tmp_path, labels)
    assert result["photos"] == 2
    assert result["found_percent"] == 50
    assert result["pck_0.2_all_percent"] == pytest.approx(100 * 11 / 24)


def test_the_error_is_that_after_a_similarity(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(0, 0.4, (3, 12, 3))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    camera = {"cam0": {"K": np.eye(3).tolist(), "R": turn.tolist(), "t": [0.1, 0.2, 3.0]}}
    (tmp_path / "cameras.json").write_text(json.dumps({"cameras": camera}))
    np.savez(tmp_path / "joints3d.npz", joints3d=reference, names=list(LIMB_JOINTS))
    world = np.zeros((3, 33, 3))
    world[:, COLUMNS] = 1.7 * reference @ turn.T + 0.5
    world[2] += rng.normal(0, 0.05, (33, 3))
    labels = tmp_path / "cam0.npz"
    np.savez(labels, frame=np.arange(3), detected=[True, True, False], world=world)
    result = bodypose3d(tmp_path, labels)
    assert result["frames"] == 2
    assert result["pa_mpjpe_mm"] == pytest.approx(0.0, abs=1e-6)
    np.savez(labels, frame=np.arange(3), detected=[True, True, True], world=world)
    assert bodypose3d(tmp_path, labels)["pa_mpjpe_mm"] > 5
