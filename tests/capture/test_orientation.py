"""The eight ways to turn a picture, and calibrations that turn with it."""

import itertools

import numpy as np
import pytest

from kinestream.capture import Orientation, PictureGeometry
from kinestream.geometry.camera import Camera

EVERY = [Orientation(turns, mirrored) for turns, mirrored in itertools.product(range(4), (False, True))]
MATRICES = {
    (1, 0, 0, 1): Orientation(),
    (0, 1, -1, 0): Orientation(1),
    (-1, 0, 0, -1): Orientation(2),
    (0, -1, 1, 0): Orientation(3),
    (-1, 0, 0, 1): Orientation(0, mirrored=True),
    (1, 0, 0, -1): Orientation(2, mirrored=True),
    (0, 1, 1, 0): Orientation(1, mirrored=True),
    (0, -1, -1, 0): Orientation(3, mirrored=True),
}
"""Where a display matrix (a, b, c, d) takes x (a, b) and y (c, d)."""


def display_matrix(a: int, b: int, c: int, d: int) -> list[int]:
    return [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]


@pytest.mark.parametrize("corner", MATRICES)
def test_a_display_matrix_moves_pixels_where_it_says(corner: tuple[int, int, int, int]) -> None:
    orientation = Orientation.from_display_matrix(display_matrix(*corner))
    assert orientation == MATRICES[corner]
    image = np.zeros((5, 9, 3), np.uint8)
    image[2, 4], image[2, 5], image[3, 4] = [9, 9, 9], [1, 0, 0], [0, 1, 0]
    shown = orientation.image(image)
    assert shown.shape[1::-1] == orientation.size(9, 5)
    middle = np.argwhere(shown[..., 2] == 9)[0][::-1]
    x_axis = np.argwhere(shown[..., 0] == 1)[0][::-1] - middle
    y_axis = np.argwhere(shown[..., 1] == 1)[0][::-1] - middle
    assert (*x_axis, *y_axis) == corner


def test_a_slanted_display_matrix_is_none_of_the_eight() -> None:
    half = 1 << 15
    assert Orientation.from_display_matrix([half, half, 0, -half, half, 0, 0, 0, 1 << 30]) is None
    assert Orientation.from_display_matrix([0] * 9) is None


@pytest.mark.parametrize("orientation", EVERY)
def test_a_camera_turns_with_its_pictures(orientation: Orientation) -> None:
    camera = Camera(64, 48, (50.0, 60.0), (30.0, 26.0), (0.1, -0.05, 0.02, -0.03, 0.01))
    turned = orientation.camera(camera)
    points = np.random.default_rng(0).uniform([-1, -1, 3], [1, 1, 5], (20, 3))
    markers = np.zeros((48, 64, 3), np.uint8)
    pixels = np.round(camera.project(points)).astype(int)
    markers[pixels[:, 1], pixels[:, 0], 0] = 1 + np.arange(20)
    shown = orientation.image(markers)
    # the same points as the turned camera sees them: x and y of the world turn as those of the picture
    axes = np.eye(3)
    axes[:2, :2] = orientation._matrix()
    there = np.round(turned.project(points @ axes.T)).astype(int)
    found = [shown[y, x, 0] for x, y in there]
    kept = [markers[y, x, 0] for x, y in pixels]
    assert found == kept


@pytest.mark.parametrize(("rotate", "flip"), [(45, False), (360, True), (-90, False)])
def test_other_angles_are_refused(rotate: int, flip: bool) -> None:
    with pytest.raises(ValueError, match=rf"--rotate.*found {rotate}"):
        Orientation.from_degrees(rotate, flip=flip)


@pytest.mark.parametrize("chosen", EVERY)
@pytest.mark.parametrize("stored", [Orientation(), Orientation(1), Orientation(3)])
def test_a_calibration_is_known_by_its_shape(stored: Orientation, chosen: Orientation) -> None:
    """Stored 480x540 with pixels twice as wide as high: 960x540 unsquashed."""
    geometry = PictureGeometry(2.0, stored, chosen)
    unsquashed = Camera(960, 540, (800.0, 800.0), (470.0, 280.0))
    wanted = chosen.camera(stored.camera(unsquashed))
    size = (wanted.width_px, wanted.height_px)
    upright = stored.camera(unsquashed)
    squashed = Camera(480, 540, (400.0, 800.0), (470.5 / 2 - 0.5, 280.0))
    for given in (unsquashed, upright, squashed, stored.camera(squashed), unsquashed.resized(1920, 1080)):
        fitted = geometry.fit(given, *size)
        assert fitted is not None
        assert fitted.focal_px == pytest.approx(wanted.focal_px)
        assert fitted.center_px == pytest.approx(wanted.center_px)
        assert (fitted.width_px, fitted.height_px) == size
    assert geometry.fit(Camera(640, 480, (500.0, 500.0), (320.0, 240.0)), *size) is None
