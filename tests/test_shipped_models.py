"""The shipped models on the embedded clip: somebody is found at once, followed as one, and roughly right."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import kinestream
from kinestream import Camera, Tracker
from kinestream.models import Models
from kinestream.regress.shipped import MODELS, weights_of

ASSETS = Path(kinestream.__file__).parent / "assets"
FRAMES = 60


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    return dict(np.load(ASSETS / "demo.npz"))


@pytest.mark.parametrize("model", MODELS)
def test_the_person_of_the_embedded_clip_is_followed(truth: dict[str, np.ndarray], model: str) -> None:
    (width, height), matrix = truth["size_px"].tolist(), truth["intrinsics"]
    camera = Camera(width, height, (matrix[0, 0], matrix[1, 1]), (matrix[0, 2], matrix[1, 2]))
    with Tracker(ASSETS / "demo.mp4", camera=camera, regressor=model) as follower:
        frames = list(islice(follower, FRAMES))
    assert [len(frame) for frame in frames] == [1] * FRAMES
    people = [frame.persons[0] for frame in frames]
    assert {person.track_id for person in people} == {0}
    boxes = truth["box_xyxy_px"][:FRAMES]
    seen = np.stack([person.keypoints_px[:, :2] for person in people])
    error = np.linalg.norm(seen - truth["keypoints_px"][:FRAMES], axis=-1).mean(1)
    assert np.median(error / (boxes[:, 3] - boxes[:, 1])) < 0.15, "in units of the person's height"
    distance = np.array([person.translation_m[2] for person in people])
    assert np.median(np.abs(distance / truth["translation_m"][:FRAMES, 2] - 1)) < 0.15


def test_with_a_flip_test_the_person_is_followed_as_well(truth: dict[str, np.ndarray]) -> None:
    models = Models.load(flip_test=True)
    with Tracker(ASSETS / "demo.mp4", models=models) as follower:
        frames = list(islice(follower, 20))
    assert {person.track_id for frame in frames for person in frame} == {0}
    seen = np.stack([frame.persons[0].keypoints_px[:, :2] for frame in frames])
    error = np.linalg.norm(seen - truth["keypoints_px"][:20], axis=-1).mean(1)
    boxes = truth["box_xyxy_px"][:20]
    assert np.median(error / (boxes[:, 3] - boxes[:, 1])) < 0.15, "in units of the person's height"


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in ASSETS.glob("*.safetensors")) < 22e6


def test_weights_keep_how_far_off_their_keypoints_are(tmp_path: Path) -> None:
    with safe_open(str(weights_of("medium")), framework="numpy") as file:
        metadata, arrays = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}
    metadata["config"] = json.dumps(
        json.loads(metadata["config"]) | {"keypoint_std": 0.03, "keypoint_slope": 2}
    )
    save_file(arrays, tmp_path / "own.safetensors", metadata=metadata)
    shipped, own = (
        Models.load(regressor=name, engine="torch") for name in ("medium", tmp_path / "own.safetensors")
    )
    assert (shipped.keypoint_noise.std, shipped.keypoint_noise.slope) == (0.010, 4.2)
    assert (own.keypoint_noise.std, own.keypoint_noise.slope) == (0.03, 2)
