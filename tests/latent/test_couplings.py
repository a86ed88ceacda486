"""Invertible layers: inverse, log-determinant against autograd, gradients, extremes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.latent.couplings import AffineCoupling, Invertible, InvertibleLinear, InvertiblePReLU

DIM = 7


def randomised(layer: Invertible, seed: int) -> Invertible:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return layer.double()


LAYERS = {
    "linear": lambda: InvertibleLinear(DIM, reverse=False),
    "reversed linear": lambda: InvertibleLinear(DIM, reverse=True),
    "coupling": lambda: AffineCoupling(DIM, 16),
    "prelu": lambda: InvertiblePReLU(DIM, slope=0.5),
}


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_inverse_and_log_det(name: str, seed: int) -> None:
    layer = randomised(LAYERS[name](), seed)
    x = torch.randn(4, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y, log_det = layer(x)
    torch.testing.assert_close(layer.inverse(y), x, atol=1e-9, rtol=1e-9)
    for row in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0][0], x[row])
        torch.testing.assert_close(
            log_det[row], torch.linalg.slogdet(jacobian).logabsdet, atol=1e-9, rtol=1e-9
        )


def test_whitening_whitens() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64)
    covariance = factor @ factor.T + 0.1 * torch.eye(DIM, dtype=torch.float64)
    mean = torch.randn(DIM, generator=generator, dtype=torch.float64)
    layer = InvertibleLinear(DIM, reverse=False).double()
    layer.set_whitening(mean, covariance)
    x = (
        mean
        + torch.randn(200_000, DIM, generator=generator, dtype=torch.float64)
        @ torch.linalg.cholesky(covariance).T
    )
    y, log_det = layer(x)
    torch.testing.assert_close(
        torch.cov(y.detach().T), torch.eye(DIM, dtype=torch.float64), atol=0.02, rtol=0
    )
    torch.testing.assert_close(log_det[0], -0.5 * torch.logdet(covariance))


def test_inverse_matrix_is_the_inverse() -> None:
    layer = randomised(InvertibleLinear(DIM, reverse=True), 1)
    y = torch.randn(3, DIM, dtype=torch.float64)
    torch.testing.assert_close(y @ layer.inverse_matrix().mT + layer.mean, layer.inverse(y))


def test_scales_are_clamped_whatever_the_input() -> None:
    layer = randomised(AffineCoupling(DIM, 16, clamp=1.5), 2)
    _, log_det = layer(1e6 * torch.randn(50, DIM, dtype=torch.float64))
    assert log_det.abs().max() <= 1.5 * (DIM // 2)


def test_a_fresh_coupling_and_prelu_are_the_identity() -> None:
    x = torch.randn(5, DIM)
    for layer in (AffineCoupling(DIM, 16), InvertiblePReLU(DIM)):
        y, log_det = layer(x)
        torch.testing.assert_close(y, x)
        torch.testing.assert_close(log_det, torch.zeros(5))
