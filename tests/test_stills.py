"""Photos that do not belong together: each is tracked as if it were the only one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from kinestream.capture import open_source
from kinestream.defaults import ASSETS
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.pose import PoseFrame

Paint = Callable[..., np.ndarray]
SIZE = (320, 240)


@pytest.fixture(scope="module")
def models() -> Models:
    return Models.load(engine="torch")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Of the embedded clip, two seconds apart, and one without anybody."""
    with open_source(ASSETS / "demo.mp4") as source:
        frames = [frame.image_rgb for frame in source][:121:60]
    return [*frames, np.full_like(frames[0], 90)]


def alike(one: PoseFrame, other: PoseFrame) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a.joints_cam_m, b.joints_cam_m) for a, b in zip(one, other, strict=True)
    )


def test_a_picture_is_tracked_as_if_it_were_alone(models: Models, pictures: list[np.ndarray]) -> None:
    together = Tracker(models=models, stills=True)
    found = [together.process(image, index) for index, image in enumerate(pictures)]
    backwards = Tracker(models=models, stills=True)
    turned = [backwards.process(image, -index) for index, image in enumerate(pictures[::-1])][::-1]
    assert [len(frame) for frame in found] == [1, 1, 1, 0]
    assert all(map(alike, found, turned))
    assert [frame.persons[0].track_id for frame in found[:3]] == [0, 1, 2], "everybody is new"
    again = together.process(pictures[0], len(pictures))
    assert alike(found[0], again) and again.persons[0].track_id == 3


def test_the_body_is_nearer_to_its_keypoints_than_a_first_look_is(
    models: Models, pictures: list[np.ndarray]
) -> None:
    def gap_px(**options: Any) -> float:
        gaps = []
        for image in pictures[:3]:
            frame = Tracker(models=models, **options).process(image, 0)
            (person,) = frame.persons
            sure = person.keypoints_px[:, 2] > 0.5
            own = frame.camera.project(person.keypoints_cam_m[sure])
            gaps.append(np.linalg.norm(own - person.keypoints_px[sure, :2], axis=1).mean())
        return float(np.mean(gaps))

    assert gap_px(stills=True) < gap_px()


def test_one_picture_stands_alone_and_several_do_not(
    block_models: Models, paint_blocks: Paint, tmp_path: Path
) -> None:
    image = paint_blocks(SIZE, {0: (100, 60, 50, 120)})
    cv2.imwrite(str(tmp_path / "shot_0.png"), image[..., ::-1])
    with Tracker(tmp_path / "shot_0.png", models=block_models) as tracker:
        assert tracker.stills and len(next(iter(tracker))) == 1
    with Tracker(tmp_path / "shot_0.png", models=block_models, stills=False) as tracker:
        assert not tracker.stills
    cv2.imwrite(str(tmp_path / "shot_1.png"), image[..., ::-1])
    with Tracker(tmp_path, models=block_models) as tracker:
        assert not tracker.stills
        assert [frame.persons[0].track_id for frame in tracker] == [0, 0]
    with Tracker(tmp_path, models=block_models, stills=True) as tracker:
        assert [frame.persons[0].track_id for frame in tracker] == [0, 1]
        assert tracker.stats()["frames"] == 2


@pytest.mark.parametrize(
    "options", [{"lead_ms": 50.0}, {"rate_hz": 60.0}, {"smooth_lag_ms": 300.0}, {"filter": "one-euro"}]
)
def test_what_needs_a_motion_is_refused(block_models: Models, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stills .--stills.: nobody is followed"):
        Tracker(models=block_models, stills=True, **options)


def test_without_the_update_it_is_what_was_observed(block_models: Models, paint_blocks: Paint) -> None:
    image = paint_blocks(SIZE, {0: (100, 60, 50, 120)})
    found = Tracker(models=block_models, stills=True, keypoint_update=False).process(image, 0)
    assert alike(found, Tracker(models=block_models, filter="none", keypoint_update=False).process(image, 0))
