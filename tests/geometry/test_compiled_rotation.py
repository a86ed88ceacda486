"""The compiled rotations against the reference ones, also where they have to choose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry import compiled_rotation, rotation

TRIPLES = st.lists(st.floats(-4, 4), min_size=3, max_size=3)


@settings(deadline=None)
@given(TRIPLES)
def test_quaternions_of_matrices(vector: list[float]) -> None:
    matrix = rotation.matrix_from_axis_angle(np.array(vector))
    quat = compiled_rotation.quat_from_matrix(matrix[None])[0]
    assert quat[0] >= 0
    np.testing.assert_allclose(rotation.matrix_from_quat(quat.astype(float)), matrix, atol=1e-5)


def test_half_turns() -> None:
    half = np.stack([np.diag(d) for d in ([1.0, -1, -1], [-1, 1, -1], [-1, -1, 1])])
    np.testing.assert_allclose(compiled_rotation.quat_from_matrix(half), np.eye(4)[1:], atol=1e-7)


@settings(deadline=None)
@given(TRIPLES, TRIPLES)
def test_matrices_of_sixd(first: list[float], second: list[float]) -> None:
    sixd = np.array([[*first, *second]])
    np.testing.assert_allclose(
        compiled_rotation.matrix_from_sixd(sixd), rotation.matrix_from_sixd(sixd), atol=1e-9
    )


@pytest.mark.parametrize(
    "sixd",
    [[0.0] * 6, [0, 0, 0, 0, 2, 0], [3, 0, 0, 0, 0, 0], [1, 2, 3, -2, -4, -6], [1e-12, 0, 0, 0, 1e-12, 0]],
)
def test_sixd_that_determine_no_rotation(sixd: list[float]) -> None:
    given_ = np.array([sixd], np.float64)
    found = compiled_rotation.matrix_from_sixd(given_)
    np.testing.assert_allclose(found, rotation.matrix_from_sixd(given_), atol=1e-12)
    np.testing.assert_allclose(found[0] @ found[0].T, np.eye(3), atol=1e-12)
