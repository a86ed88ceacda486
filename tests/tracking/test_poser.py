"""Bodies of latent states: rotations on the fast path, projection, meshes, nobody."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry.camera import Camera
from kinestream.geometry.quaternion import to_matrix
from kinestream.geometry.rotation import matrix_from_axis_angle, quat_from_matrix
from kinestream.models import Models
from kinestream.tracking.poser import BodyPoser, PosedBody

ANGLES = st.lists(st.floats(-4, 4), min_size=3, max_size=3)


@settings(deadline=None)
@given(ANGLES)
def test_matrices_are_those_of_the_rotation_module(vector: list[float]) -> None:
    rotation = matrix_from_axis_angle(np.array(vector))
    np.testing.assert_allclose(to_matrix(quat_from_matrix(rotation)), rotation, atol=1e-9)


def test_projection_agrees_with_the_camera_and_survives_points_behind_it() -> None:
    points = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32) * 0.3 + np.float32([0, 0, 3])
    body = PosedBody(np.zeros((21, 4), "f"), np.zeros((24, 3), "f"), np.zeros(24, "f"), points)
    for camera in (Camera.from_fov(640, 480), Camera(640, 480, (500, 510), (320, 240), (0.1, -0.05, 0, 0))):
        np.testing.assert_allclose(body.keypoints_px(camera), camera.project(points), atol=1e-2)
    points[0] = [0, 0, -1]
    assert np.isfinite(body.keypoints_px(camera)).all()


def test_nobody_has_no_body(block_models: Models) -> None:
    assert BodyPoser(block_models.body, block_models.decoder, vertices=True).pose([]) == []
