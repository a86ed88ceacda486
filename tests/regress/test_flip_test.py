"""Keypoints of a picture and its mirror image, with the shipped weights on a picture of the demo clip."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kinestream.body.skeleton import MIRROR_KEYPOINTS
from kinestream.capture import open_source
from kinestream.defaults import ASSETS
from kinestream.geometry.camera import Camera
from kinestream.latent.flow_map import FlowMap
from kinestream.models import Models
from kinestream.regress.flip_test import FlipTest, observe_both_ways
from kinestream.regress.observation import Observations
from kinestream.regress.upright import observe_upright

ORDER = list(MIRROR_KEYPOINTS)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    with open_source(ASSETS / "demo.mp4") as source:
        return [frame.image_rgb for frame in source][40]


def looks(models: Models, image: np.ndarray, turns: int = 0) -> tuple[Observations, Observations]:
    """Of one person: one look, and both ways."""
    camera = Camera.from_fov(image.shape[1], image.shape[0])
    given = (models.regressor, image, models.detector(image).boxes_xyxy_px[:1], camera, [turns], [False])
    return observe_upright(*given).seen, observe_both_ways(*given).seen


@pytest.mark.parametrize("turns", [0, 1])
def test_both_looks_make_keypoints_surer(models: Models, picture: np.ndarray, turns: int) -> None:
    one, both = looks(models, picture, turns)
    assert (both.keypoints_px[..., 2] >= one.keypoints_px[..., 2]).all()
    kept = both.keypoints_px[..., 2] == one.keypoints_px[..., 2]
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(both.covariance_px2[kept], one.covariance_px2[kept])
    np.testing.assert_array_equal(both.z, one.z)


def test_looks_that_agree_are_averaged_and_else_the_surer_one_counts(
    models: Models, picture: np.ndarray
) -> None:
    one, _ = looks(models, picture)
    camera = Camera.from_fov(picture.shape[1], picture.shape[0])
    box = models.detector(picture).boxes_xyxy_px[:1]
    side, last = float((box[0, 2:] - box[0, :2]).max()), picture.shape[1] - 1
    first, second = one.keypoints_px.copy(), one.keypoints_px.copy()
    first[..., 2], second[..., 2] = 0.6, 0.9
    second[0, ::2, 2] = 0.4
    second[..., 1] += 0.02 * side
    second[0, :6, 1] += 0.2 * side
    turned = second[:, ORDER] * [-1, 1, 1] + [last, 0, 0]
    answers = iter([first, turned.astype(np.float32)])

    def observer(image: np.ndarray, boxes: Any, camera: Camera, turns: Any = None) -> Observations:
        return replace(one, keypoints_px=next(answers).copy())

    found = observe_both_ways(observer, picture, box, camera, [0], [False]).seen.keypoints_px[0]
    np.testing.assert_allclose(found[:, 2], np.maximum(first, second)[0, :, 2])
    share = second[0, :, 2:] / (first + second)[0, :, 2:]
    mean = first[0, :, :2] + share * (second - first)[0, :, :2]
    np.testing.assert_allclose(found[6:, :2], mean[6:], atol=1e-2)
    surer = np.where(second[0, :6, 2:] > 0.6, second[0, :6, :2], first[0, :6, :2])
    np.testing.assert_allclose(found[:6, :2], surer, atol=1e-2)


def test_the_mirror_image_says_the_same(models: Models, picture: np.ndarray) -> None:
    camera = Camera.from_fov(picture.shape[1], picture.shape[0])
    box = models.detector(picture).boxes_xyxy_px[:1]
    last = picture.shape[1] - 1
    mirrored_box = box[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [last, 0, last, 0]
    found = observe_both_ways(models.regressor, picture, box, camera).seen
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    other = observe_both_ways(models.regressor, mirrored, mirrored_box, camera).seen
    back = other.keypoints_px[:, ORDER] * [-1, 1, 1] + [last, 0, 0]
    np.testing.assert_allclose(found.keypoints_px, back, atol=0.3)
    np.testing.assert_allclose(
        found.covariance_px2, other.covariance_px2[:, ORDER] * [1, -1, 1], rtol=0.05, atol=0.3
    )


def test_somebody_else_in_the_mirror_image_has_no_say(models: Models, picture: np.ndarray) -> None:
    one, _ = looks(models, picture)

    class Elsewhere:
        """In the mirror image it sees another person, very surely."""

        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, image: np.ndarray, boxes: Any, camera: Camera, turns: Any = None) -> Observations:
            self.calls += 1
            points = one.keypoints_px.copy()
            if self.calls > 1:
                points[..., 0] += 0.3 * float(np.ptp(np.asarray(boxes)[0, 1::2]))
                points[..., 2] = 0.99
            return replace(one, keypoints_px=points)

    camera = Camera.from_fov(picture.shape[1], picture.shape[0])
    box = models.detector(picture).boxes_xyxy_px[:1]
    found = observe_both_ways(Elsewhere(), picture, box, camera, [0], [False]).seen
    np.testing.assert_array_equal(found.keypoints_px, one.keypoints_px)


def test_nobody_is_observed_in_no_box(models: Models, picture: np.ndarray) -> None:
    camera = Camera.from_fov(picture.shape[1], picture.shape[0])
    assert len(observe_both_ways(models.regressor, picture, np.zeros((0, 4)), camera).seen) == 0


def test_the_flip_test_is_the_mean_and_symmetric(models: Models, picture: np.ndarray) -> None:
    camera = replace(Camera.from_fov(picture.shape[1], picture.shape[0]), center_px=(500.0, 300.0))
    box = models.detector(picture).boxes_xyxy_px[:1]
    last = picture.shape[1] - 1
    assert isinstance(models.decoder, FlowMap)
    both = FlipTest(models.regressor, models.decoder)
    one, found = models.regressor(picture, box, camera), both(picture, box, camera)
    assert 0.001 < np.abs(found.z - one.z).mean() < 0.5
    np.testing.assert_array_equal(found.z_std, one.z_std)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    mirrored_box = box[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [last, 0, last, 0]
    other = both(mirrored, mirrored_box, replace(camera, center_px=(last - 500.0, 300.0)))
    np.testing.assert_allclose(
        found.keypoints_px, other.keypoints_px[:, ORDER] * [-1, 1, 1] + [last, 0, 0], atol=0.3
    )
    np.testing.assert_allclose(found.translation_m, other.translation_m * [-1, 1, 1], atol=0.02)
    aligned = other.root_quat_wxyz * [1, 1, -1, -1]
    assert abs(float((aligned * found.root_quat_wxyz).sum())) > 0.9999
    np.testing.assert_allclose(np.linalg.norm(found.root_quat_wxyz, axis=1), 1, atol=1e-5)


def test_whoever_is_seen_in_one_look_alone_is_taken_from_that(models: Models, picture: np.ndarray) -> None:
    one, _ = looks(models, picture)
    calls = []

    def observer(image: np.ndarray, boxes: Any, camera: Camera, turns: Any = None) -> Observations:
        calls.append(len(boxes))
        faded = one.keypoints_px * [1, 1, 0.1 if len(calls) > 1 else 1]
        return replace(one, keypoints_px=faded.astype(np.float32))

    assert isinstance(models.decoder, FlowMap)
    camera = Camera.from_fov(picture.shape[1], picture.shape[0])
    box = models.detector(picture).boxes_xyxy_px[:1]
    found = FlipTest(observer, models.decoder)(picture, box, camera)
    assert calls == [1, 1]
    np.testing.assert_array_equal(found.z, one.z)
    np.testing.assert_allclose(found.root_quat_wxyz, one.root_quat_wxyz, atol=1e-6)
    assert len(FlipTest(models.regressor, models.decoder)(picture, np.zeros((0, 4)), camera)) == 0
