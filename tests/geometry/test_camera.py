"""Camera: agreement with OpenCV, inverses, gradients, what lies behind, clear errors."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry.camera import Camera, look_at, project_points

LENSES = [
    (),
    (-0.28, 0.07, 0.0012, -0.0008),
    (0.1, -0.2, 0.002, 0.001, 0.05),
    (0.4, -0.3, 0.0005, -0.001, 0.02, 0.5, -0.2, 0.01),
]


def camera_with(lens: tuple[float, ...]) -> Camera:
    return Camera(1280, 720, (910.0, 905.0), (650.5, 352.25), lens)


def points_in_view(count: int = 200, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 9, count)
    return np.stack(
        [rng.uniform(-0.6, 0.6, count) * depth, rng.uniform(-0.35, 0.35, count) * depth, depth], -1
    )


@pytest.mark.parametrize("lens", LENSES)
def test_projection_equals_opencv(lens: tuple[float, ...]) -> None:
    camera, points = camera_with(lens), points_in_view()
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.K, np.array(lens))
    np.testing.assert_allclose(camera.project(points), expected[:, 0], atol=1e-9)
    from_torch = camera.project(torch.from_numpy(points).float())
    assert from_torch.dtype == torch.float32
    np.testing.assert_allclose(from_torch.numpy(), expected[:, 0], atol=2e-3)


@pytest.mark.parametrize("lens", LENSES)
def test_unprojection_inverts_projection(lens: tuple[float, ...]) -> None:
    camera, points = camera_with(lens), points_in_view().reshape(10, 20, 3)
    back = camera.unproject(camera.project(points), points[..., 2])
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_batches_of_cameras_broadcast_over_points() -> None:
    points = torch.from_numpy(points_in_view(12)).reshape(3, 4, 3)
    cameras = [Camera.from_fov(640, 480, fov_deg=f) for f in (40, 60, 80)]
    stacked = torch.stack([torch.from_numpy(c.K) for c in cameras])
    pixels = project_points(points, stacked)
    for camera, own, expected in zip(cameras, points, pixels, strict=True):
        torch.testing.assert_close(camera.project(own), expected)


@pytest.mark.parametrize("lens", LENSES)
def test_gradient_equals_finite_differences(lens: tuple[float, ...]) -> None:
    points = torch.from_numpy(points_in_view(5)).requires_grad_()
    intrinsics = torch.from_numpy(camera_with(lens).K).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, k: project_points(p, k, lens), (points, intrinsics))


def test_points_behind_the_camera_are_nan_and_have_no_gradient() -> None:
    points = torch.tensor([[0.1, 0.2, 2.0], [0.1, 0.2, 0.0], [0.1, 0.2, -2.0]], requires_grad=True)
    pixels = camera_with(LENSES[1]).project(points)
    assert torch.isfinite(pixels[0]).all() and torch.isnan(pixels[1:]).all()
    pixels[0].sum().backward()
    assert torch.isfinite(points.grad).all() and (points.grad[1:] == 0).all()
    assert np.isnan(camera_with(()).project(np.array([0.0, 0.0, -1.0]))).all()


@settings(deadline=None)
@given(st.floats(5, 150), st.sampled_from(["diagonal", "horizontal", "vertical"]))
def test_field_of_view_is_what_was_asked_for(fov_deg: float, axis: str) -> None:
    camera = Camera.from_fov(640, 480, fov_deg=fov_deg, axis=axis)  # type: ignore[arg-type]
    horizontal, vertical = camera.fov_deg
    diagonal = 2 * math.degrees(math.atan(math.hypot(320, 240) / camera.focal_px[0]))
    found = {"diagonal": diagonal, "horizontal": horizontal, "vertical": vertical}[axis]
    assert found == pytest.approx(fov_deg)
    # the corner of the picture is seen along the corner ray
    np.testing.assert_allclose(camera.project(np.array([0, 0, 3.0])), [319.5, 239.5])


def test_resizing_moves_pixels_as_an_image_scaler_does() -> None:
    camera = camera_with(LENSES[1])
    half = camera.resized(640, 360)
    points = points_in_view(20)
    np.testing.assert_allclose(half.project(points) + 0.5, (camera.project(points) + 0.5) / 2, atol=1e-9)


@settings(deadline=None)
@given(*(st.floats(-5, 5) for _ in range(6)))
def test_look_at_puts_the_target_ahead_and_up_upwards(ex, ey, ez, tx, ty, tz) -> None:  # type: ignore[no-untyped-def]
    eye, target = np.array([ex, ey, ez]), np.array([tx, ty, tz])
    if np.hypot(tx - ex, tz - ez) < 0.1:
        return  # straight up or down: tested below
    rotation, translation = look_at(eye, target)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(
        rotation @ target + translation, [0, 0, np.linalg.norm(target - eye)], atol=1e-9
    )
    above = rotation @ (target + [0, 0.1, 0]) + translation
    assert above[1] < 0 and above[0] == pytest.approx(0, abs=1e-9)


def test_look_at_refuses_views_without_a_picture() -> None:
    for target in ((0, 2, 0), (0, 0, 0)):
        with pytest.raises(ValueError, match="look_at"):
            look_at((0, 0, 0), target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width_px": 0}, "width_px and height_px must be positive, found 0x480"),
        ({"focal_px": (500.0, -1.0)}, "focal_px must be two positive numbers"),
        ({"focal_px": (500.0, math.nan)}, "focal_px"),
        ({"center_px": (math.inf, 0.0)}, "center_px must be two finite numbers"),
        ({"distortion": (0.1, 0.2, 0.3)}, "0, 4, 5 or 8 finite OpenCV coefficients"),
    ],
)
def test_impossible_cameras_are_refused_by_field(change: dict[str, object], message: str) -> None:
    fields = {"width_px": 640, "height_px": 480, "focal_px": (500.0, 500.0), "center_px": (320.0, 240.0)}
    with pytest.raises(ValueError, match=message):
        Camera(**{**fields, **change})  # type: ignore[arg-type]


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 170 degrees, found 200"):
        Camera.from_fov(640, 480, fov_deg=200)
    with pytest.raises(ValueError, match="axis must be one of"):
        Camera.from_fov(640, 480, axis="depth")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected points \(\.\.\., 3\)"):
        project_points(torch.zeros(4, 2), torch.eye(3))
    with pytest.raises(ValueError, match=r"expected points_px \(\.\.\., 2\), found \(3,\)"):
        camera_with(()).unproject([1, 2, 3])


def test_repr_is_one_readable_line() -> None:
    assert repr(Camera.from_fov(640, 480, fov_deg=60)) == (
        "Camera(640x480 px, focal=(692.8, 692.8) px, center=(319.5, 239.5) px, fov=49.6x38.2 deg)"
    )
