"""Crops: the two maps are inverse, the pixels follow the map, the crop camera agrees."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry.camera import Camera
from kinestream.geometry.crop import CropTransform, halved

crops = st.builds(
    CropTransform,
    center_px=st.tuples(st.floats(-100, 900), st.floats(-100, 700)),
    side_px=st.floats(5, 2000),
    crop_px=st.integers(8, 512),
    angle_rad=st.floats(-math.pi, math.pi),
)


@settings(deadline=None)
@given(crops)
def test_maps_are_inverse_and_keep_the_centre(crop: CropTransform) -> None:
    points = np.random.default_rng(0).uniform(-500, 1500, (4, 5, 2))
    np.testing.assert_allclose(crop.to_full(crop.to_crop(points)), points, atol=1e-6)
    np.testing.assert_allclose(crop.to_crop(crop.center_px), [(crop.crop_px - 1) / 2] * 2, atol=1e-9)
    lengths = np.linalg.norm(np.diff(crop.to_crop([(0, 0), (3, 4)]), axis=0))
    assert lengths == pytest.approx(5 * crop.crop_px / crop.side_px)


def test_the_box_fills_the_crop_edge_to_edge() -> None:
    crop = CropTransform.around_box((10, 20, 50, 100), crop_px=64, margin=1.0)
    # the outer edge of the first pixel is half a pixel before its centre
    np.testing.assert_allclose(crop.to_full([-0.5, -0.5]), [30 - 40, 60 - 40])
    np.testing.assert_allclose(crop.to_full([63.5, 63.5]), [30 + 40, 60 + 40])
    assert CropTransform.around_box((10, 20, 50, 100), crop_px=64).side_px == pytest.approx(100)


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
@pytest.mark.parametrize("side", [40.0, 150.0, 700.0])
def test_pixels_follow_the_map(side: float, angle: float) -> None:
    v, u = np.mgrid[0:600, 0:800].astype(np.float32)
    ramp = np.stack([u, v, np.zeros_like(u)], -1)  # every pixel holds its own coordinates
    crop = CropTransform((400.0, 300.0), side, 96, angle)
    found = crop.extract(ramp)
    grid = np.stack(np.meshgrid(np.arange(96), np.arange(96)), -1)
    expected = crop.to_full(grid)
    inside = ((expected > 8) & (expected < [791, 591])).all(-1)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(found[inside][:, :2], expected[inside], atol=0.1)


def test_outside_of_the_picture_is_the_border() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    crop = CropTransform((0.0, 0.0), 100.0, 20).extract(image, border=7)
    assert (crop[:9, :9] == 7).all() and (crop[12:18, 12:18] == 200).all()


def test_shrinking_averages_instead_of_picking() -> None:
    checker = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    crop = CropTransform((255.5, 255.5), 512.0, 64).extract(checker)
    assert np.abs(crop[1:-1, 1:-1].astype(int) - 127).max() <= 2


def test_crop_camera_projects_to_the_same_place() -> None:
    camera = Camera.from_fov(800, 600, fov_deg=60)
    crop = CropTransform((420.0, 250.0), 333.0, 256)
    points = np.array([[0.1, 0.2, 3.0], [-0.3, 0.1, 2.0]])
    np.testing.assert_allclose(crop.camera(camera).project(points), crop.to_crop(camera.project(points)))
    with pytest.raises(ValueError, match="angle_rad = 0"):
        CropTransform((0.0, 0.0), 10.0, 8, 0.1).camera(camera)


@pytest.mark.parametrize(
    "arguments", [((0.0, math.nan), 10.0, 8), ((0.0, 0.0), 0.0, 8), ((0.0, 0.0), 10.0, 0)]
)
def test_impossible_crops_are_refused(arguments: tuple[tuple[float, float], float, int]) -> None:
    with pytest.raises(ValueError, match="CropTransform: expected a finite center_px"):
        CropTransform(*arguments)


def test_wrong_point_shape() -> None:
    with pytest.raises(ValueError, match=r"expected points \(\.\.\., 2\), found \(3,\)"):
        CropTransform((0.0, 0.0), 10.0, 8).to_crop([1, 2, 3])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_halving_equals_one_reduction_over_areas(times: int) -> None:
    image = np.random.default_rng(times).integers(0, 256, (97, 132, 3)).astype(np.uint8)
    factor = 2**times
    height, width = image.shape[0] // factor, image.shape[1] // factor
    whole = image[: factor * height, : factor * width]
    at_once = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(halved(whole, times).astype(int) - at_once).max() <= 1
    assert halved(image, times).shape == (height, width, 3)
