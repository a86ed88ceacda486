"""Rotations: agreement with SciPy, round trips, gradients at the hard points, clear errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from kinestream.geometry import rotation as rot

ANGLES = [0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.02, 0.5, 2.0, 3.0, math.pi - 1e-3, math.pi - 1e-6, math.pi]
AXES = [
    (1, 0, 0),
    (0, -1, 0),
    (0, 0, 1),
    (0.6, 0, -0.8),
    (0.36, 0.48, 0.8),
    (-0.577350269, 0.577350269, 0.577350269),
]
TOLERANCE = {torch.float64: 1e-7, torch.float32: 3e-3}
"""Angles near pi are only known to the square root of the rounding error of a matrix."""

vectors = arrays(np.float64, (7, 3), elements=st.floats(-1.75, 1.75, width=32))
quats = arrays(np.float64, (7, 4), elements=st.floats(-2, 2, width=32)).filter(
    lambda q: bool((np.linalg.norm(q, axis=-1) > 1e-3).all())
)


def hard_vectors(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    axes = torch.tensor(AXES, dtype=torch.float64)
    axes = axes / axes.norm(dim=-1, keepdim=True)
    return (torch.tensor(ANGLES, dtype=torch.float64)[:, None, None] * axes).reshape(-1, 3).to(dtype)


@settings(deadline=None, max_examples=60)
@given(vectors)
def test_matrix_from_axis_angle_equals_scipy(axis_angle: np.ndarray) -> None:
    expected = Rotation.from_rotvec(axis_angle).as_matrix()
    np.testing.assert_allclose(rot.matrix_from_axis_angle(axis_angle), expected, atol=1e-12)
    np.testing.assert_allclose(rot.axis_angle_from_matrix(expected), axis_angle, atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(quats)
def test_quaternions_equal_scipy(quat_wxyz: np.ndarray) -> None:
    expected = Rotation.from_quat(quat_wxyz, scalar_first=True)
    np.testing.assert_allclose(rot.matrix_from_quat(quat_wxyz), expected.as_matrix(), atol=1e-12)
    unit = rot.quat_from_matrix(expected.as_matrix())
    assert (unit[:, 0] >= 0).all()
    same = np.abs((unit * expected.as_quat(scalar_first=True)).sum(-1))
    np.testing.assert_allclose(same, 1, atol=1e-12)
    np.testing.assert_allclose(
        rot.matrix_from_axis_angle(rot.axis_angle_from_quat(quat_wxyz)), expected.as_matrix(), atol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trips_at_the_hard_angles(dtype: torch.dtype) -> None:
    matrix = rot.matrix_from_axis_angle(hard_vectors(dtype))
    exact = 40 * torch.finfo(dtype).eps
    for there, back in (
        (rot.quat_from_matrix, rot.matrix_from_quat),
        (rot.sixd_from_matrix, rot.matrix_from_sixd),
        (rot.axis_angle_from_matrix, rot.matrix_from_axis_angle),
    ):
        torch.testing.assert_close(back(there(matrix)), matrix, atol=exact, rtol=0)
    angle = rot.axis_angle_from_matrix(matrix).norm(dim=-1)
    torch.testing.assert_close(angle, hard_vectors(dtype).norm(dim=-1), atol=TOLERANCE[dtype], rtol=0)


def test_axis_angle_and_quaternion_agree_without_the_matrix() -> None:
    vector = hard_vectors()
    torch.testing.assert_close(
        rot.matrix_from_quat(rot.quat_from_axis_angle(vector)), rot.matrix_from_axis_angle(vector)
    )
    torch.testing.assert_close(
        rot.axis_angle_from_quat(rot.quat_from_axis_angle(vector)).norm(dim=-1), vector.norm(dim=-1)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "function",
    [
        lambda v: rot.matrix_from_axis_angle(v),
        lambda v: rot.quat_from_axis_angle(v),
        lambda v: rot.axis_angle_from_quat(rot.quat_from_axis_angle(v)),
        lambda v: rot.axis_angle_from_matrix(rot.matrix_from_axis_angle(v)),
        lambda v: rot.quat_from_matrix(rot.matrix_from_axis_angle(v)),
        lambda v: rot.matrix_from_sixd(rot.sixd_from_matrix(rot.matrix_from_axis_angle(v))),
        lambda v: rot.project_to_so3(rot.matrix_from_axis_angle(v)),
        lambda v: rot.geodesic_distance(rot.matrix_from_axis_angle(v), torch.eye(3, dtype=v.dtype)),
        lambda v: rot.slerp(
            torch.eye(3, dtype=v.dtype), rot.matrix_from_axis_angle(v), torch.tensor(0.3, dtype=v.dtype)
        ),
    ],
)
def test_gradients_are_finite_everywhere(function, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    vector = hard_vectors(dtype).requires_grad_()
    function(vector).sum().backward()
    assert torch.isfinite(vector.grad).all()
    assert vector.grad.abs().max() < 1e3


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.7, 2.5])
def test_gradients_equal_finite_differences(angle: float) -> None:
    torch.manual_seed(0)
    vector = torch.randn(4, 3, dtype=torch.float64)
    vector = (vector / vector.norm(dim=-1, keepdim=True) * angle).requires_grad_()
    assert torch.autograd.gradcheck(rot.matrix_from_axis_angle, vector)
    assert torch.autograd.gradcheck(rot.quat_from_axis_angle, vector)
    assert torch.autograd.gradcheck(
        lambda v: rot.axis_angle_from_matrix(rot.matrix_from_axis_angle(v)), vector, atol=1e-4
    )
    assert torch.autograd.gradcheck(
        lambda v: rot.project_to_so3(rot.matrix_from_axis_angle(v) * 1.3 + 0.05), vector
    )


def test_gradient_of_the_mean_equals_finite_differences() -> None:
    torch.manual_seed(1)
    vectors_ = (0.4 * torch.randn(5, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: rot.geodesic_mean(rot.matrix_from_axis_angle(v), iterations=30), vectors_, atol=1e-5
    )


def test_geodesic_distance_is_a_metric_and_accurate_at_its_ends() -> None:
    a, b, c = rot.random_rotations((3, 50), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(rot.geodesic_distance(a, b), rot.geodesic_distance(b, a))
    assert (
        rot.geodesic_distance(a, c) <= rot.geodesic_distance(a, b) + rot.geodesic_distance(b, c) + 1e-12
    ).all()
    np.testing.assert_allclose(
        rot.geodesic_distance(a, b),
        (Rotation.from_matrix(a.numpy()).inv() * Rotation.from_matrix(b.numpy())).magnitude(),
        atol=1e-9,
    )
    for angle in (0.0, 1e-9, 1e-6, math.pi - 1e-6, math.pi):
        step = rot.matrix_from_axis_angle(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))
        assert float(rot.geodesic_distance(a[0], a[0] @ step)) == pytest.approx(angle, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(vectors, st.floats(0, 1))
def test_slerp_equals_scipy(axis_angle: np.ndarray, fraction: float) -> None:
    a, b = rot.matrix_from_axis_angle(axis_angle[:2])
    expected = Slerp([0, 1], Rotation.from_matrix(np.stack([a, b])))(fraction).as_matrix()
    np.testing.assert_allclose(rot.slerp(a, b, np.array(fraction)), expected, atol=1e-7)


def test_slerp_takes_the_ends_and_broadcasts() -> None:
    a, b = rot.random_rotations((2,), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    path = rot.slerp(a, b, torch.linspace(0, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)
    steps = rot.geodesic_distance(path[:-1], path[1:])
    torch.testing.assert_close(steps, steps[:1].expand(4))


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, (9, 3), elements=st.floats(-0.5, 0.5, width=32)))
def test_geodesic_mean_equals_scipy(axis_angle: np.ndarray) -> None:
    matrices = rot.matrix_from_axis_angle(axis_angle)
    weights = np.arange(1.0, 10)
    mean = rot.geodesic_mean(matrices, weights, iterations=30)
    residual = (weights[:, None] * rot.axis_angle_from_matrix(mean.T @ matrices)).sum(0)
    np.testing.assert_allclose(residual, 0, atol=1e-7)  # the Karcher condition
    chordal = Rotation.from_matrix(matrices).mean(weights).as_matrix()
    assert float(rot.geodesic_distance(mean, chordal)) < 0.1


def test_geodesic_mean_is_the_midpoint_of_two() -> None:
    a, b = rot.random_rotations((2,), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mean = rot.geodesic_mean(torch.stack([a, b]))
    torch.testing.assert_close(mean, rot.slerp(a, b, torch.tensor(0.5, dtype=torch.float64)))


@settings(deadline=None, max_examples=60)
@given(arrays(np.float32, (8, 6), elements=st.floats(-1e6, 1e6, width=32)))
def test_any_six_numbers_give_a_rotation(sixd: np.ndarray) -> None:
    matrix = rot.matrix_from_sixd(sixd).astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.tile(np.eye(3), (8, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-5)


@pytest.mark.parametrize(
    "sixd", [[0] * 6, [1, 0, 0, 2, 0, 0], [0, 0, 0, 0, 1, 0], [1e-30, 0, 0, 0, 1e-30, 0]]
)
def test_degenerate_six_numbers_have_finite_gradients(sixd: list[float]) -> None:
    point = torch.tensor(sixd, dtype=torch.float32, requires_grad=True)
    matrix = rot.matrix_from_sixd(point)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3))
    matrix.sum().backward()
    assert torch.isfinite(point.grad).all()


def test_projection_is_the_nearest_rotation() -> None:
    generator = torch.Generator().manual_seed(5)
    noisy = torch.randn(40, 3, 3, generator=generator, dtype=torch.float64)
    nearest = rot.project_to_so3(noisy)
    torch.testing.assert_close(torch.linalg.det(nearest), torch.ones(40, dtype=torch.float64))
    best = (nearest - noisy).square().sum((-1, -2))
    for other in rot.random_rotations((200,), generator=generator, dtype=torch.float64):
        assert (best <= (other - noisy).square().sum((-1, -2)) + 1e-12).all()


def test_random_rotations_are_uniform_and_seeded() -> None:
    first = rot.random_rotations((4000,), generator=torch.Generator().manual_seed(7))
    again = rot.random_rotations((4000,), generator=torch.Generator().manual_seed(7))
    assert torch.equal(first, again)
    assert first.mean(0).abs().max() < 0.05
    angles = rot.geodesic_distance(first, torch.eye(3))
    assert float(angles.mean()) == pytest.approx(math.pi / 2 + 2 / math.pi, abs=0.03)  # Haar measure


def test_numpy_and_torch_agree_and_keep_kind_and_dtype() -> None:
    vector = hard_vectors(torch.float32)
    from_torch, from_numpy = rot.matrix_from_axis_angle(vector), rot.matrix_from_axis_angle(vector.numpy())
    assert isinstance(from_numpy, np.ndarray) and from_numpy.dtype == np.float32
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())
    frozen = vector.numpy().copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(rot.matrix_from_axis_angle(frozen), from_numpy)
    assert rot.matrix_from_axis_angle(np.zeros((0, 5, 3))).shape == (0, 5, 3, 3)


def test_errors_name_the_function_and_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"matrix_from_sixd: expected shape \(\.\.\., 6\), found \(2, 5\)"):
        rot.matrix_from_sixd(np.zeros((2, 5)))
    with pytest.raises(TypeError, match="tensors only or numpy arrays only, found ndarray, Tensor"):
        rot.geodesic_distance(np.eye(3), torch.eye(3))  # type: ignore[type-var]
    with pytest.raises(TypeError, match="float32 or float64, found int64"):
        rot.matrix_from_axis_angle(np.zeros(3, int))
    with pytest.raises(TypeError, match="found list"):
        rot.matrix_from_axis_angle([0.0, 0.0, 0.0])  # type: ignore[type-var]
    with pytest.raises(ValueError, match="positive sum"):
        rot.geodesic_mean(np.tile(np.eye(3), (2, 1, 1)), np.zeros(2))
    with pytest.raises(ValueError, match="N >= 1"):
        rot.geodesic_mean(np.zeros((0, 3, 3)))
