"""Light, shadows, panoramas and sensor."""

import numpy as np
import pytest

from kinestream.geometry.camera import Camera
from kinestream.kernels.raster import ToneCurve
from kinestream.trainer.scenes.augment import Augmenter, CameraSettings, jpeg
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.lighting import (
    Light,
    environment_light,
    filmic,
    guessed_light,
    harmonics,
    vertex_light,
)
from kinestream.trainer.scenes.shadows import ShadowMap, floor_shadow
from kinestream.trainer.scenes.stage import SceneAssets
from kinestream.trainer.scenes.viewpoint import random_shot, tilted

UP = np.array([0.0, -1.0, 0.0])


def directions(count: int = 2000) -> np.ndarray:
    unit = np.random.default_rng(0).normal(size=(count, 3))
    return (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)


def test_harmonics_are_orthonormal() -> None:
    values = np.stack([harmonics(d) for d in directions(20000)])
    np.testing.assert_allclose(4 * np.pi * values.T @ values / len(values), np.eye(9), atol=0.06)


def test_uniform_sky_lights_all_sides_alike() -> None:
    radiance = np.zeros((9, 3))
    radiance[0] = np.array([1.0, 0.5, 0.25]) / harmonics(np.array([0, 0, 1.0]))[0]
    light = environment_light(radiance, np.array([0, 1.0, 0]), np.zeros(3), np.eye(3), ToneCurve.srgb())
    normals = directions()
    out = vertex_light(normals, np.ones(len(normals), np.float32), light)
    np.testing.assert_allclose(out, np.broadcast_to([1.0, 0.5, 0.25], out.shape), rtol=1e-3)
    assert light.lamp_share(UP) == 0


def test_lamp_follows_the_cosine_and_the_shadow() -> None:
    toward = np.array([0.6, -0.8, 0.0])
    light = Light(
        np.zeros((9, 3), np.float32), np.eye(3), toward, np.array([2.0, 2.0, 2.0]), ToneCurve.srgb()
    )
    normals = directions()
    cosine = normals @ toward
    lit = np.ones(len(normals), np.float32)
    outside, inside = vertex_light(normals, lit, light)[..., 0]
    least = outside[cosine < -0.1].max()
    assert 0 < least < 0.1
    np.testing.assert_allclose(outside, 2 * np.maximum(cosine, 0) + least, atol=1e-5)
    np.testing.assert_allclose(inside, 2 * np.maximum(-cosine, 0) + least, atol=1e-5)
    np.testing.assert_allclose(vertex_light(normals, 0 * lit, light), least, atol=1e-6)


def test_environment_keeps_the_light_of_the_lamp_in_sum() -> None:
    """A lamp that is set apart keeps its power on a surface that faces it."""
    toward = np.array([0.0, 1.0, 0.0])
    power = np.array([3.0, 3.0, 3.0])
    ambient = np.zeros((9, 3))
    ambient[0] = 2.0
    whole = ambient + np.outer(harmonics(toward), power)
    light = environment_light(whole, toward, power, np.eye(3), ToneCurve.srgb())
    facing = vertex_light(toward[None].astype(np.float32), np.ones(1, np.float32), light)[0, 0, 0]
    assert facing == pytest.approx(2.0 * 0.282095 + 3.0 / np.pi, rel=1e-3)


def test_guessed_light_takes_the_colour_and_the_level_of_the_photo() -> None:
    dark, red = np.full((32, 32, 3), 30, np.uint8), np.full((32, 32, 3), (200, 60, 60), np.uint8)
    normals = directions(200)
    lit = np.ones(len(normals), np.float32)
    mean = [
        vertex_light(normals, lit, guessed_light(photo, UP, np.random.default_rng(1)))[0].mean(0)
        for photo in (dark, red)
    ]
    assert mean[0].mean() < 0.5 * mean[1].mean()
    assert mean[1][0] > 1.15 * mean[1][2]
    assert mean[0][0] == pytest.approx(mean[0][2], rel=0.25)


def test_filmic_curve_rises_from_black_to_white() -> None:
    table = filmic(1.0).table
    assert table[0] == 0 and table[-1] == 255 and (np.diff(table) >= 0).all()


def box(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[(low, high)[i >> a & 1][a] for a in range(3)] for i in range(8)], np.float32)
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    return corners, np.array(faces, np.int32)


def test_shadow_falls_away_from_the_lamp() -> None:
    # a pillar on a floor 1 m under the camera; lamp from the left, at 45 degrees
    corners, faces = box((-0.2, -0.5, 4.8), (0.2, 1.0, 5.2))
    toward = np.array([-1.0, -1.0, 0.0]) / np.sqrt(2)
    K = Camera.from_fov(200, 160, fov_deg=60).K
    factor = floor_shadow(
        ShadowMap.of(corners, faces, toward),
        K,
        (200, 160),
        up=UP,
        floor_point_m=np.array([0, 1.0, 0]),
        lamp_share=0.8,
        contacts_m=np.zeros((0, 3)),
    )
    assert factor.shape == (160, 200)

    def at(x: float, z: float) -> float:
        column, row = (K @ [x, 1.0, z])[:2] / z
        return float(factor[round(row), round(column)])

    assert at(0.9, 5.0) < 0.7  # the shadow is 1.5 m long, to the right
    assert at(-0.9, 5.0) == at(0.9, 3.5) == at(2.2, 5.0) == 1.0
    assert (factor[:75] == 1.0).all()  # above the horizon


def test_feet_darken_the_floor_without_a_lamp() -> None:
    K = Camera.from_fov(200, 160, fov_deg=60).K
    factor = floor_shadow(
        None, K, (200, 160), up=UP, floor_point_m=np.array([0, 1.0, 0]), lamp_share=0.5,
        contacts_m=np.array([[0.0, 0.95, 4.0]]),
    )  # fmt: skip
    column, row = (K @ [0, 1.0, 4.0])[:2] / 4.0
    assert factor[round(row), round(column)] < 0.95
    assert factor[-5, 5] == 1.0


def test_vertices_behind_others_are_in_the_shade() -> None:
    near, faces = box((-0.5, -1.0, 4.0), (0.5, -0.9, 5.0))
    far, _ = box((-0.3, 0.0, 4.2), (0.3, 0.1, 4.8))
    points = np.concatenate([near, far])
    shadow = ShadowMap.of(points, np.concatenate([faces, faces + 8]), np.array([0.0, -1.0, 0.0]))
    lit = shadow.lit(points)
    assert (lit[8:] == 0).all()
    assert (lit[[i for i in range(8) if near[i, 1] < -0.95]] == 1).all()


def test_panorama_view_turns_with_the_camera(assets: SceneAssets) -> None:
    backgrounds = assets.backgrounds
    path, K = backgrounds.panoramas[0], Camera.from_fov(64, 64, fov_deg=50).K
    brightness = {}
    for pitch in (-0.9, 0.0, 0.9):
        backdrop = backgrounds.panorama(
            path, K, (64, 64), camera_from_world=tilted(pitch, 0.0), heading_rad=0.3
        )
        brightness[pitch] = backdrop.image.mean()
        up = tilted(pitch, 0.0)[:, 1]
        assert backdrop.light.lamp_direction @ up == pytest.approx(0.64, abs=1e-6)
    assert brightness[-0.9] > brightness[0.0] + 20 > brightness[0.9] + 40


def test_shot_puts_the_floor_under_the_camera_where_its_height_says() -> None:
    config = SceneConfig(camera_height_m=(1.5, 1.5, 1.5000001), pitch_deg=(-60, 80))
    rng = np.random.default_rng(0)
    for _ in range(20):
        shot = random_shot(config, rng)
        pelvis_height = 1.5 + shot.pelvis_m @ shot.view.up
        assert pelvis_height == pytest.approx(0.93, abs=0.25)


def test_clean_config_leave_the_picture_as_it_is() -> None:
    augmenter, rng = Augmenter(SceneConfig.clean()), np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    out = augmenter.sensor(image, augmenter.settings(rng), rng)
    np.testing.assert_allclose(out.astype(int), image.astype(int), atol=1)


def test_noise_has_the_strength_that_is_asked_for() -> None:
    augmenter, rng = Augmenter(SceneConfig()), np.random.default_rng(0)
    gray = np.full((128, 128, 3), 127, np.uint8)
    identity = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    for sigma in (2.0, 8.0):
        out = augmenter.sensor(gray, CameraSettings(identity, 1.0, sigma, None), rng)
        assert out.std() == pytest.approx(sigma, rel=0.1)
        assert out.mean() == pytest.approx(127, abs=1.0)
    again = augmenter.sensor(gray, CameraSettings(identity, 1.0, 8.0, None), rng)
    assert (again != out).mean() > 0.8  # the noise moves from picture to picture


def test_saturation_zero_is_gray() -> None:
    augmenter, rng = Augmenter(SceneConfig()), np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
    identity = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    out = augmenter.sensor(image, CameraSettings(identity, 0.0, 0.0, None), rng).astype(int)
    assert np.ptp(out, axis=-1).max() <= 1


def test_jpeg_loses_more_at_low_quality() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    error = {quality: np.abs(jpeg(image, quality).astype(int) - image).mean() for quality in (30, 95)}
    assert error[95] < error[30]
