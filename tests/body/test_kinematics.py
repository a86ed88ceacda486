"""The hot path gives what the body model gives."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.body.arrays import check_body_arrays, read_body
from kinestream.body.kinematics import CompiledKinematics
from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_axis_angle


def numbers(shape, limit):
    return hnp.arrays(np.float64, shape, elements=st.floats(-limit, limit))


@pytest.fixture(scope="module")
def body():
    return BodyModel.load()


@pytest.fixture(scope="module")
def hot():
    return CompiledKinematics.of(read_body())


@pytest.fixture
def frame():
    rng = np.random.default_rng(3)
    return matrix_from_axis_angle(rng.normal(0.0, 0.5, (24, 3))), rng.normal(0.0, 2.0, 3)


def expected(body, betas, rotations, translation_m):
    inputs = (torch.as_tensor(value, dtype=body.dtype)[None] for value in (betas, rotations, translation_m))
    out = body(*inputs)
    return out.joints_m[0].numpy(), out.keypoints_m[0].numpy()


@settings(max_examples=25, deadline=None)
@given(betas=numbers(10, 4.0), axis_angle=numbers((24, 3), 3.2), translation_m=numbers(3, 10.0))
def test_joints_and_keypoints_are_those_of_the_body_model(body, hot, betas, axis_angle, translation_m):
    rotations = matrix_from_axis_angle(axis_angle)
    hot.set_shape(betas)
    joints, keypoints = hot.pose(rotations, translation_m)
    true_joints, true_keypoints = expected(body, betas, rotations, translation_m)
    np.testing.assert_allclose(joints, true_joints, rtol=0, atol=1e-5)
    np.testing.assert_allclose(keypoints, true_keypoints, rtol=0, atol=1e-5)


@pytest.mark.parametrize("correctives", [True, False])
@pytest.mark.parametrize("betas", [1, 10])
def test_dense_correctives_and_none_are_both_exact(make_raw_body, frame, correctives, betas):
    raw = make_raw_body(betas=betas, correctives=correctives)
    arrays = check_body_arrays(raw, path="small")
    body, hot = BodyModel(arrays, dtype=torch.float64), CompiledKinematics.of(arrays)
    shape = np.linspace(-2.0, 2.0, betas)
    hot.set_shape(shape)
    for found, true in zip(hot.pose(*frame), expected(body, shape, *frame), strict=True):
        np.testing.assert_allclose(found, true, rtol=0, atol=1e-12)


def test_the_shape_stays_until_it_is_set_again(hot, frame):
    hot.set_shape(np.zeros(10))
    mean = hot.pose(*frame)[1]
    hot.set_shape([3.0])
    tall = hot.pose(*frame)[1]
    assert np.abs(tall - mean).max() > 0.05
    np.testing.assert_array_equal(hot.pose(*frame)[1], tall)
    hot.set_shape([])
    np.testing.assert_array_equal(hot.pose(*frame)[1], mean)


def test_changing_the_callers_array_does_not_change_the_shape(hot, frame):
    betas = np.ones(10)
    hot.set_shape(betas)
    before = hot.pose(*frame)[0]
    betas[:] = 2.0
    np.testing.assert_array_equal(hot.pose(*frame)[0], before)
    hot.set_shape(betas)
    assert np.abs(hot.pose(*frame)[0] - before).max() > 0.01


def test_results_of_earlier_frames_are_not_overwritten(hot, frame):
    joints, keypoints = hot.pose(*frame)
    kept = joints.copy(), keypoints.copy()
    hot.pose(np.tile(np.eye(3), (24, 1, 1)), np.ones(3))
    np.testing.assert_array_equal(joints, kept[0])
    np.testing.assert_array_equal(keypoints, kept[1])


def test_other_dtypes_and_layouts_give_the_same(hot, frame):
    rotations, translation_m = (value.astype(np.float32) for value in frame)
    expected_joints = hot.pose(rotations.astype(np.float64), translation_m.astype(np.float64))[0]
    strided = np.asfortranarray(rotations)
    np.testing.assert_array_equal(hot.pose(strided, translation_m.tolist())[0], expected_joints)


@pytest.mark.parametrize("betas", [np.zeros(11), np.zeros((1, 10)), 1.0])
def test_wrong_betas_are_named(hot, betas):
    with pytest.raises(ValueError, match=r"found betas of shape .* expected \(n,\) with n <= 10"):
        hot.set_shape(betas)


@pytest.mark.parametrize(
    ("rotations", "translation_m"),
    [
        (np.zeros((23, 3, 3)), np.zeros(3)),
        (np.zeros((24, 3)), np.zeros(3)),
        (np.zeros((24, 3, 3)), np.zeros(2)),
    ],
)
def test_wrong_poses_are_named(hot, rotations, translation_m):
    with pytest.raises(ValueError, match=r"found rotations .* expected \(24, 3, 3\) and \(3,\)"):
        hot.pose(rotations, translation_m)
