"""Torch-free quaternions: equal to the formulas in torch, one by one and many at once."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.geometry import quaternion, rotation

TRIPLES = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


@settings(deadline=None)
@given(TRIPLES, TRIPLES)
def test_single_quaternions_equal_those_in_torch(first: list[float], second: list[float]) -> None:
    one, other = quaternion.exp(*first), quaternion.exp(*second)
    np.testing.assert_allclose(one, rotation.quat_from_axis_angle(np.array(first)), atol=1e-9)
    np.testing.assert_allclose(
        quaternion.product(one, other), rotation.quat_multiply(np.array(one), np.array(other)), atol=1e-12
    )
    np.testing.assert_allclose(quaternion.to_matrix(one), rotation.matrix_from_quat(np.array(one)), atol=1e-9)
    np.testing.assert_allclose(
        quaternion.exp(*quaternion.log(one)), np.sign(one[0] or 1) * np.array(one), atol=1e-8
    )
    np.testing.assert_allclose(quaternion.product(one, quaternion.conjugate(one)), [1, 0, 0, 0], atol=1e-12)
    assert abs(np.linalg.norm(quaternion.unit((3 * one[0], 3 * one[1], 3 * one[2], 3 * one[3]))) - 1) < 1e-12


@settings(deadline=None)
@given(TRIPLES, TRIPLES, TRIPLES)
def test_arrays_of_quaternions_equal_matrices(
    first: list[float], second: list[float], vector: list[float]
) -> None:
    quats = np.array([quaternion.exp(*first), quaternion.exp(*second)])
    matrices = rotation.matrix_from_quat(quats)
    np.testing.assert_allclose(
        rotation.matrix_from_quat(quaternion.multiply(quats, quats[::-1])),
        matrices @ matrices[::-1],
        atol=1e-9,
    )
    np.testing.assert_allclose(quaternion.rotate(quats, np.array(vector)), matrices @ vector, atol=1e-9)
    np.testing.assert_allclose(
        rotation.matrix_from_quat(quaternion.conjugates(quats)), matrices.swapaxes(1, 2), atol=1e-9
    )
    for quat, matrix in zip(quats, matrices, strict=True):
        found = quaternion.from_matrix(matrix)
        assert found[0] >= 0
        np.testing.assert_allclose(rotation.matrix_from_quat(found), matrix, atol=1e-9)
        np.testing.assert_allclose(found, rotation.quat_from_matrix(matrix), atol=1e-9)
        vectors = quaternion.rotation_vectors(quat)
        np.testing.assert_allclose(rotation.matrix_from_axis_angle(vectors), matrix, atol=1e-8)


def test_kinds_stay_what_they_are() -> None:
    quats = np.float32([[1, 0, 0, 0]])
    assert quaternion.multiply(quats, quats).dtype == quaternion.conjugates(quats).dtype == np.float32
    tensors = torch.tensor(quats)
    assert torch.equal(rotation.quat_multiply(tensors, tensors), tensors)
