"""The pose flow: bijection, density, samples, half precision, files; on fresh and on the shipped weights."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kinestream.geometry.rotation import geodesic_distance, matrix_from_axis_angle
from kinestream.latent.decode import DEFAULT_WEIGHTS, FlowDecoder
from kinestream.latent.flow import (
    LIGHT_WEIGHTS,
    FlowConfig,
    PoseFlow,
    standard_normal_log_prob,
)

SHIPPED = [pytest.param(path, id=path.stem) for path in (DEFAULT_WEIGHTS, LIGHT_WEIGHTS)]
CONFIGS = [
    FlowConfig("realnvp", "tangent", depth=3, hidden=16),
    FlowConfig("light", "tangent", depth=3),
]


def poses(count: int, *, spread: float = 0.4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return matrix_from_axis_angle(spread * torch.randn(count, 21, 3, generator=generator))


def randomised(config: FlowConfig) -> PoseFlow:
    torch.manual_seed(0)
    flow = PoseFlow(config)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return flow.eval()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_decode_inverts_encode(config: FlowConfig) -> None:
    flow = randomised(config)
    rotations = poses(64)
    latent = flow.encode(rotations)
    assert latent.shape == (64, flow.dim)
    assert geodesic_distance(flow.decode(latent), rotations).max() < 1e-4


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_log_det_equals_autograd(config: FlowConfig) -> None:
    flow = randomised(config).double()
    base = poses(3).double()
    _, log_det = flow.encode_with_log_det(base)
    for row in range(len(base)):

        def encode(vector: torch.Tensor, row: int = row) -> torch.Tensor:
            turned = base[row] @ matrix_from_axis_angle(vector.reshape(21, 3))
            return flow.encode(turned[None])[0]

        jacobian = torch.autograd.functional.jacobian(encode, torch.zeros(63, dtype=torch.float64))
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(log_det[row], expected, atol=1e-6, rtol=1e-6)


def test_log_prob_is_the_change_of_variables() -> None:
    flow = randomised(CONFIGS[0])
    rotations = poses(8)
    latent, log_det = flow.encode_with_log_det(rotations)
    expected = -0.5 * latent.square().sum(-1) - 31.5 * math.log(2 * math.pi) + log_det
    torch.testing.assert_close(flow.log_prob(rotations), expected)
    torch.testing.assert_close(
        standard_normal_log_prob(torch.zeros(1, 63))[0].item(), -31.5 * math.log(2 * math.pi)
    )


@pytest.mark.parametrize("path", SHIPPED)
def test_a_hundred_thousand_latents_give_rotations(path: Path) -> None:
    flow = PoseFlow.load(path)
    generator = torch.Generator().manual_seed(0)
    worst = torch.tensor(0.0)
    for _ in range(25):
        rotations = flow.decode(torch.randn(4_000, flow.dim, generator=generator))
        assert torch.isfinite(rotations).all()
        worst = torch.maximum(worst, (rotations.mT @ rotations - torch.eye(3)).abs().max())
    assert worst < 1e-5


@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_far_latents_stay_finite(scale: float) -> None:
    flow = PoseFlow.load()
    latent = scale * torch.randn(1000, 63, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(flow.decode(latent)).all()


@pytest.mark.parametrize("path", SHIPPED)
def test_shipped_weights_invert_in_float32(path: Path) -> None:
    flow = PoseFlow.load(path)
    rotations = flow.sample(2000, generator=torch.Generator().manual_seed(0))
    assert geodesic_distance(flow.decode(flow.encode(rotations)), rotations).max() < 1e-4
    assert path.stat().st_size <= 3_000_000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_networks_stay_inverse(dtype: torch.dtype) -> None:
    flow = PoseFlow.load()
    rotations = flow.sample(500, temperature=0.8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=dtype):
        again = flow.decode(flow.encode(rotations))
    assert again.dtype == torch.float32
    assert geodesic_distance(again, rotations).max() < 5e-3


def test_latents_in_float16_are_accepted() -> None:
    flow = PoseFlow.load()
    latent = 0.8 * torch.randn(200, 63, generator=torch.Generator().manual_seed(0))
    assert geodesic_distance(flow.decode(latent.half()), flow.decode(latent)).max() < 5e-3


def test_gradients_flow_through_decode_and_log_prob() -> None:
    flow = PoseFlow.load()
    latent = torch.zeros(2, 63, requires_grad=True)
    (flow.log_prob(flow.decode(latent)).sum() + flow.decode(latent).square().sum()).backward()
    assert torch.isfinite(latent.grad).all()
    assert latent.grad.abs().max() > 0


def test_samples_are_seeded_and_cool_down() -> None:
    flow = PoseFlow.load()
    first, second = (flow.sample(50, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    cold = flow.sample(50, temperature=0.0, generator=torch.Generator().manual_seed(3))
    assert geodesic_distance(cold, flow.decode(torch.zeros(1, 63))).max() < 1e-5
    assert flow.sample(0).shape == (0, 21, 3, 3)


@pytest.mark.parametrize("path", SHIPPED)
def test_the_numpy_decoder_equals_the_flow(path: Path) -> None:
    flow = PoseFlow.load(path)
    decoder = FlowDecoder(flow)
    latent = 1.5 * torch.randn(300, 63, generator=torch.Generator().manual_seed(0))
    expected = flow.decode(latent).numpy()
    np.testing.assert_allclose(decoder.decode(latent.numpy()), expected, atol=5e-5)
    np.testing.assert_allclose(decoder.decode(latent[7].numpy()), expected[7], atol=5e-5)
    with pytest.raises(ValueError, match="latents must be"):
        decoder.decode(np.zeros((2, 62), dtype=np.float32))
    with pytest.raises(ValueError, match="tangent"):
        FlowConfig("realnvp", "sixd", depth=1, hidden=8)  # type: ignore[arg-type]


def test_save_and_load_are_exact_in_float32(tmp_path: Path) -> None:
    flow = randomised(CONFIGS[0])
    flow.set_reference(poses(100))
    flow.save(tmp_path / "flow.safetensors")
    again = PoseFlow.load(tmp_path / "flow.safetensors")
    assert again.config == flow.config
    torch.testing.assert_close(again.log_prob(poses(5)), flow.log_prob(poses(5)))
    torch.testing.assert_close(again.real_log_probs, flow.real_log_probs, atol=1e-3, rtol=0)
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_load_errors_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train_flow"):
        PoseFlow.load(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="pose_flow"):
        PoseFlow.load(tmp_path / "other.safetensors")


def test_wrong_shapes_are_named() -> None:
    flow = randomised(replace(CONFIGS[0]))
    with pytest.raises(ValueError, match=r"\(B, 21, 3, 3\), found \(2, 24, 3, 3\)"):
        flow.encode(torch.eye(3).expand(2, 24, 3, 3))
    with pytest.raises(ValueError, match=r"\(B, 63\), found \(2, 32\)"):
        flow.decode(torch.zeros(2, 32))
