"""Meshes over pictures."""

import numpy as np
import pytest

from kinestream.kernels.raster.normals import vertex_normals
from kinestream.kernels.raster.overlay import PART_COLOURS, overlay_meshes

K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])


def sphere(centre_m: tuple[float, float, float], radius_m: float) -> tuple[np.ndarray, np.ndarray]:
    """A globe of 12 x 16 quads, its triangles counter-clockwise seen from outside."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, 13), np.arange(17) * np.pi / 8, indexing="ij")
    unit = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    index = np.arange(13 * 17).reshape(13, 17)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return (unit.reshape(-1, 3) * radius_m + centre_m).astype(np.float32), faces.astype(np.int32)


def test_normals_of_a_sphere_point_outwards() -> None:
    points, faces = sphere((0, 0, 0), 2.0)
    normals = vertex_normals(points, faces)
    inner = slice(17, -17)  # the seam and the poles lack some faces
    assert ((normals * points / 2).sum(-1)[inner] > 0.97).all()


def test_overlay_draws_only_where_the_person_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    before = image.copy()
    points, faces = sphere((0, 0, 4), 1.0)
    drawn = overlay_meshes(image, [points], faces, K, opacity=1.0)
    np.testing.assert_array_equal(image, before)
    changed = (drawn != image).any(-1)
    y, x = np.mgrid[:48, :64]
    distance = np.hypot(x - 31.5, y - 23.5)
    assert changed[distance < 13].all() and not changed[distance > 17.5].any()
    np.testing.assert_array_equal(overlay_meshes(image, [points], faces, K, opacity=0.0), image)


def test_edges_are_smooth_and_the_light_has_a_direction() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    points, faces = sphere((0, 0, 4), 1.0)
    drawn = overlay_meshes(image, [points], faces, K, opacity=1.0, samples=4, colours=[(200, 200, 200)])
    values = drawn[..., 0].astype(int)
    assert values[20, 26] > values[32, 31] + 10  # lit from above left
    rim = values[values > 0]
    assert (rim < 40).sum() > 10  # partly covered pixels


def test_the_nearer_person_hides_the_farther() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    near, faces = sphere((0, 0, 3), 0.5)
    far, _ = sphere((0.2, 0, 6), 1.5)
    for order in ([near, far], [far, near]):
        colours = [(255, 0, 0), (0, 0, 255)] if order[0] is near else [(0, 0, 255), (255, 0, 0)]
        drawn = overlay_meshes(image, order, faces, K, colours=colours, opacity=1.0)
        assert drawn[24, 32, 0] > 100 and drawn[24, 32, 2] == 0
        assert drawn[24, 45, 2] > 50 and drawn[24, 45, 0] == 0


def test_people_behind_or_around_the_camera() -> None:
    image = np.full((48, 64, 3), 9, np.uint8)
    behind, faces = sphere((0, 0, -3), 1.0)
    np.testing.assert_array_equal(overlay_meshes(image, [behind], faces, K), image)
    np.testing.assert_array_equal(overlay_meshes(image, [], faces, K), image)
    around, _ = sphere((0, 0, 0), 1.0)
    assert (overlay_meshes(image, [around], faces, K, opacity=1.0) != image).any(-1).all()


def test_errors_say_what_was_found() -> None:
    points, faces = sphere((0, 0, 4), 1.0)
    with pytest.raises(ValueError, match=r"found float64 \(4, 4, 3\)"):
        overlay_meshes(np.zeros((4, 4, 3)), [points], faces, K)
    with pytest.raises(ValueError, match="opacity must lie in 0..1; found 2"):
        overlay_meshes(np.zeros((4, 4, 3), np.uint8), [points], faces, K, opacity=2)
    with pytest.raises(ValueError, match="colours is empty"):
        overlay_meshes(np.zeros((4, 4, 3), np.uint8), [points], faces, K, colours=[])


def test_every_part_has_its_colour() -> None:
    assert PART_COLOURS.shape == (16, 3) and (PART_COLOURS[0] == 0).all()
    assert len(np.unique(PART_COLOURS, axis=0)) == 16
