"""People who are not upright in the picture, with the shipped weights on a picture of the demo clip."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kinestream import Tracker
from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.capture import open_source
from kinestream.defaults import ASSETS
from kinestream.geometry.camera import Camera
from kinestream.geometry.quaternion import multiply
from kinestream.models import Models
from kinestream.regress.observation import Observations
from kinestream.regress.regressor import Regressor
from kinestream.regress.upright import observe_upright, trunk_tilt_rad

STEP_NS = 33_333_333


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    with open_source(ASSETS / "demo.mp4") as source:
        return next(iter(source)).image_rgb


class Counted:
    """An observer that notes how many people it was shown, call by call."""

    def __init__(self, observer: Regressor) -> None:
        self.observer, self.shown = observer, []  # type: ignore[var-annotated]

    def __call__(self, image: np.ndarray, boxes: Any, camera: Camera, turns: Any = None) -> Observations:
        self.shown.append(len(boxes))
        return self.observer(image, boxes, camera, turns)


def looked_at(models: Models, image: np.ndarray, turns: int) -> tuple[np.ndarray, np.ndarray, Camera]:
    """The picture turned clockwise by quarter turns, the box of its person, and its camera."""
    box = models.detector(image).boxes_xyxy_px[0]
    height, width = image.shape[:2]
    corners = box.reshape(2, 2)
    for _ in range(turns):
        corners = np.stack([height - 1 - corners[:, 1], corners[:, 0]], 1)
        height, width = width, height
    turned = np.ascontiguousarray(np.rot90(image, -turns))
    return turned, np.concatenate([corners.min(0), corners.max(0)]), Camera.from_fov(width, height)


def centred_camera(image: np.ndarray) -> Camera:
    height, width = image.shape[:2]
    return Camera(width, height, focal_px=(900.0, 900.0), center_px=((width - 1) / 2, (height - 1) / 2))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_crop_of_a_turned_picture_shows_the_same(
    models: Models, picture: np.ndarray, turns: int
) -> None:
    image, box, _ = looked_at(models, picture, 0)
    camera = centred_camera(image)
    before = models.regressor(image, [box], camera)
    turned, box, _ = looked_at(models, picture, turns)
    sideways = centred_camera(turned)
    after = models.regressor(turned, [box], sideways, [turns])
    angle = turns * np.pi / 2
    about_axis = np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
    np.testing.assert_allclose(after.z, before.z, atol=0.05)
    alike = np.abs(multiply(about_axis, before.root_quat_wxyz[0]) @ after.root_quat_wxyz[0])
    assert alike > np.cos(0.02)
    x, y, z = before.translation_m[0]
    places = {1: (-y, x, z), 2: (-x, -y, z), 3: (y, -x, z)}
    np.testing.assert_allclose(after.translation_m[0], places[turns], atol=0.03)
    rays = camera.unproject(before.keypoints_px[0, :, :2])[:, :2]
    for _ in range(turns):
        rays = np.stack([-rays[:, 1], rays[:, 0]], 1)
    np.testing.assert_allclose(sideways.unproject(after.keypoints_px[0, :, :2])[:, :2], rays, atol=2.5 / 900)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_who_is_not_upright_is_observed_again_in_a_turned_crop(
    models: Models, picture: np.ndarray, turns: int
) -> None:
    image, box, camera = looked_at(models, picture, turns)
    counted = Counted(models.regressor)  # type: ignore[arg-type]
    upright = observe_upright(counted, image, [box, box], camera, None, [True, False])
    assert upright.quarter_turns.tolist() == [turns, 0]
    assert upright.looked_again.tolist() == [True, False]
    assert counted.shown == [2, 1]
    confidence = upright.seen.keypoints_px[..., 2].mean(1)
    assert confidence[0] > confidence[1]
    again = observe_upright(counted, image, [box], camera, upright.quarter_turns[:1])
    assert counted.shown == [2, 1, 1]
    np.testing.assert_array_equal(again.seen.z[0], upright.seen.z[0])


def test_who_is_upright_is_observed_once(models: Models, picture: np.ndarray) -> None:
    image, box, camera = looked_at(models, picture, 0)
    counted = Counted(models.regressor)  # type: ignore[arg-type]
    upright = observe_upright(counted, image, [box], camera)
    assert counted.shown == [1]
    assert upright.quarter_turns.tolist() == [0]
    nobody = observe_upright(models.regressor, image, np.zeros((0, 4)), camera)
    assert len(nobody.seen) == len(nobody.quarter_turns) == 0


def test_the_tilt_of_a_trunk_is_clockwise_from_up() -> None:
    points = np.zeros((3, NUM_KEYPOINTS, 3), np.float32)
    points[:, [5, 6], :2] = np.float32([[0, -1], [1, 0], [-1, 1]])[:, None]
    np.testing.assert_allclose(np.degrees(trunk_tilt_rad(points)), [0, 90, -135], atol=1e-4)


def test_keypoints_that_are_none_ask_for_no_turn(models: Models, picture: np.ndarray) -> None:
    image, box, camera = looked_at(models, picture, 0)

    def blind(*arguments: Any) -> Observations:
        seen = models.regressor(*arguments)
        return replace(seen, keypoints_px=np.full_like(seen.keypoints_px, np.nan))

    upright = observe_upright(blind, image, [box], camera)
    assert upright.quarter_turns.tolist() == [0]
    assert not upright.looked_again.any()


def test_turns_must_fit_the_boxes(models: Models, picture: np.ndarray) -> None:
    image, box, camera = looked_at(models, picture, 0)
    with pytest.raises(ValueError, match="a quarter turn for each of 1 boxes"):
        models.regressor(image, [box], camera, [0, 1])


def test_a_film_on_its_head_is_tracked_like_one_that_is_not(models: Models) -> None:
    joints = {}
    for turns in (0, 2):
        counted = Counted(models.regressor)  # type: ignore[arg-type]
        own = Models(
            models.detector, counted, models.decoder, models.body, models.dynamics,
            temporal_lifter=models.temporal_lifter,
        )  # fmt: skip
        tracker = Tracker(models=own)
        with open_source(ASSETS / "demo.mp4") as source:
            frames = [frame.image_rgb for frame, _ in zip(source, range(20), strict=False)]
        for index, image in enumerate(frames):
            tracked = tracker.process(np.ascontiguousarray(np.rot90(image, turns)), index * STEP_NS)
        assert len(tracked) == 1
        joints[turns] = next(iter(tracked)).joints_cam_m
        assert sum(counted.shown) <= len(frames) + 3
    on_feet, on_head = joints[0], joints[2] * [-1, -1, 1]
    assert np.linalg.norm((on_head - on_head[0]) - (on_feet - on_feet[0]), axis=1).mean() < 0.06
    assert abs(on_head[0, 2] / on_feet[0, 2] - 1) < 0.1
