"""The virtual camera: what it maps and turns agrees with the real camera, wherever the crop lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry.camera import Camera
from kinestream.geometry.crop import CropTransform
from kinestream.regress.preprocessing import crop_intrinsics, to_pixels, virtual_view

CAMERA = Camera.from_fov(640, 480, fov_deg=70.0)
crops = st.builds(
    CropTransform,
    center_px=st.tuples(st.floats(0, 640), st.floats(0, 480)),
    side_px=st.floats(20, 600),
    crop_px=st.sampled_from([128, 192]),
)


@settings(deadline=None, max_examples=60)
@given(crops)
def test_projection_through_crop_and_through_virtual_camera_agree(crop: CropTransform) -> None:
    view = virtual_view([crop_intrinsics(crop, CAMERA)])
    rng = np.random.default_rng(0)
    points_m = CAMERA.unproject(crop.to_full(rng.uniform(0, crop.crop_px, (6, 2))), rng.uniform(1, 9, 6))
    in_virtual = points_m @ view.rotation[0]  # rows: R^T x
    expected = in_virtual[:, :2] / in_virtual[:, 2:] / view.half_extent[0]
    crop_points = (crop.to_crop(CAMERA.project(points_m)) + 0.5) / (crop.crop_px / 2) - 1
    mapped = np.concatenate([crop_points, np.ones((6, 1))], 1) @ view.to_virtual[0].T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], expected, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(crops)
def test_virtual_camera_looks_at_the_centre_of_the_crop(crop: CropTransform) -> None:
    view = virtual_view([crop_intrinsics(crop, CAMERA)])
    np.testing.assert_allclose(view.rotation[0] @ view.rotation[0].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.rotation[0]) == pytest.approx(1)
    ray = CAMERA.unproject(crop.center_px)
    np.testing.assert_allclose(view.rotation[0][:, 2], ray / np.linalg.norm(ray), atol=1e-9)
    center = view.to_virtual[0] @ [0, 0, 1]
    np.testing.assert_allclose(center[:2], 0, atol=1e-9)


def test_extent_is_the_tangent_of_half_the_angle() -> None:
    crop = CropTransform((319.5, 239.5), 200.0, 128)
    view = virtual_view([crop_intrinsics(crop, CAMERA)])
    assert view.half_extent[0] == pytest.approx(100 / CAMERA.focal_px[0])
    assert view.log_extent[0] == pytest.approx(np.log(100 / CAMERA.focal_px[0]))
    np.testing.assert_allclose(view.rotation[0], np.eye(3), atol=1e-9)


def test_mild_distortion_moves_points_by_little() -> None:
    bent = Camera(640, 480, CAMERA.focal_px, CAMERA.center_px, (-0.1, 0.02, 0.0, 0.0))
    crop = CropTransform((420.0, 300.0), 160.0, 128)
    view = virtual_view([crop_intrinsics(crop, bent)])
    pixels = crop.to_full([[20.0, 30.0], [100.0, 90.0]])
    rays = bent.unproject(pixels) @ view.rotation[0]
    expected = rays[:, :2] / rays[:, 2:] / view.half_extent[0]
    points = (crop.to_crop(pixels) + 0.5) / 64 - 1
    mapped = np.concatenate([points, np.ones((2, 1))], 1) @ view.to_virtual[0].T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], expected, atol=0.02)


def test_crop_coordinates_run_from_edge_to_edge() -> None:
    crop = CropTransform((100.0, 50.0), 64.0, 128)
    corners = to_pixels([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]], crop)
    np.testing.assert_allclose(corners, crop.to_full([[-0.5, -0.5], [127.5, 127.5], [63.5, 63.5]]))
