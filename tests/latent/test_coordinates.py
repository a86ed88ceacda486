"""Rotation coordinates: bijections whose volume changes agree with autograd and with closed forms."""

import math

import pytest
import torch

from kinestream.geometry.rotation import (
    axis_angle_from_matrix,
    geodesic_distance,
    matrix_from_axis_angle,
    random_rotations,
)
from kinestream.latent.coordinates import (
    TANGENT_DIM,
    TangentCoordinates,
    log_exp_jacobian,
)


def poses(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, 21, 3, generator=generator, dtype=torch.float64)
    return matrix_from_axis_angle(vectors)


def test_tangents_are_a_bijection() -> None:
    generator = torch.Generator().manual_seed(1)
    coordinates = TangentCoordinates(random_rotations((21,), generator=generator).double())
    near = coordinates.mean_rotations @ poses(50, 2)
    x, _ = coordinates.encode(near)
    assert x.shape == (50, TANGENT_DIM)
    assert geodesic_distance(coordinates.decode(x), near).max() < 1e-6


@pytest.mark.parametrize("angle", [1e-4, 0.05, 0.099, 0.101, 0.5, 1.5, 3.0])
def test_volume_of_the_exponential_map_by_finite_differences(angle: float) -> None:
    vector = torch.tensor([0.36, -0.48, 0.8], dtype=torch.float64) * angle
    base = matrix_from_axis_angle(vector)

    def local(v: torch.Tensor) -> torch.Tensor:
        return axis_angle_from_matrix(base.T @ matrix_from_axis_angle(v))

    step = 1e-6
    columns = [
        (local(vector + step * e) - local(vector - step * e)) / (2 * step) for e in torch.eye(3).double()
    ]
    expected = torch.linalg.slogdet(torch.stack(columns, 1)).logabsdet
    torch.testing.assert_close(log_exp_jacobian(vector), expected, atol=1e-7, rtol=1e-6)


def test_the_uniform_density_integrates_to_the_volume_of_the_rotation_group() -> None:
    # integral over the ball of radius pi of the volume factor = 8 pi^2
    angles = torch.linspace(1e-6, math.pi, 20001, dtype=torch.float64)
    vectors = torch.stack([angles, 0 * angles, 0 * angles], -1)
    factor = log_exp_jacobian(vectors).exp()
    volume = torch.trapezoid(factor * 4 * math.pi * angles.square(), angles)
    assert float(volume) == pytest.approx(8 * math.pi**2, rel=1e-6)


def test_volume_gradient_is_finite_at_the_identity() -> None:
    x = torch.zeros(1, TANGENT_DIM, requires_grad=True)
    log_exp_jacobian(x).sum().backward()
    assert torch.isfinite(x.grad).all()
