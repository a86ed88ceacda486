"""The regressor network: shapes, the lifter behind it, and what evidence reaches it."""

import onnx
import pytest
import torch

from kinestream.body.skeleton import NUM_BETAS, NUM_KEYPOINTS, NUM_PARTS
from kinestream.engines.onnx_graph import export_onnx
from kinestream.networks.interface import Inference, RegressorConfig
from kinestream.regress.lifter import LOG_STD_RANGE, Lifter, split_state, state_sizes
from kinestream.regress.network import InferenceNetwork, RegressorNetwork
from kinestream.regress.regressor import network_inputs
from kinestream.regress.state_head import to_plane

LATENT = 12


@pytest.fixture(scope="module")
def network() -> RegressorNetwork:
    torch.manual_seed(0)
    return RegressorNetwork(RegressorConfig(latent_size=LATENT, backbone="tiny", crop_px=64)).eval()


def inputs(count: int, side: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return images, torch.eye(3).expand(count, 3, 3), torch.full((count,), -2.0)


@torch.no_grad()
def test_output_shapes(network: RegressorNetwork) -> None:
    output = network(*inputs(2))
    assert output.heatmaps.shape == (2, NUM_KEYPOINTS, 16, 16)
    assert output.parts.shape == (2, 1 + NUM_PARTS, 16, 16)
    assert output.points.shape == (2, NUM_KEYPOINTS, 2)
    assert output.confidence_logit.shape == (2, NUM_KEYPOINTS)
    assert output.presence_logit.shape == (2,)
    sizes = tuple(field.shape[1] for field in output.state)
    assert sizes == state_sizes(LATENT) == (LATENT, 6, 3, NUM_BETAS, LATENT, 1, 3, NUM_BETAS)
    assert output.points.abs().max() <= 1


@torch.no_grad()
def test_rows_do_not_influence_each_other(network: RegressorNetwork) -> None:
    images, to_virtual, extent = inputs(3)
    both, alone = network(images, to_virtual, extent), network(images[1:2], to_virtual[:1], extent[:1])
    torch.testing.assert_close(both.points[1:2], alone.points, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.state.z[1:2], alone.state.z, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_before_training_the_state_is_that_of_the_lifter(network: RegressorNetwork) -> None:
    images, to_virtual, extent = inputs(2)
    output = network(images, to_virtual, extent)
    confidence = torch.sigmoid(output.confidence_logit)
    _, flat = network.head.lifter(to_plane(output.points, to_virtual), confidence, extent)
    torch.testing.assert_close(output.state.z, split_state(flat, LATENT).z)


def test_keypoints_without_confidence_have_no_influence() -> None:
    torch.manual_seed(0)
    lifter = Lifter(LATENT, hidden=32, depth=1).eval()
    points, confidence = torch.randn(1, NUM_KEYPOINTS, 2), torch.rand(1, NUM_KEYPOINTS)
    confidence[0, 7] = 0.0
    moved = points.clone()
    moved[0, 7] += 0.5
    extent = torch.zeros(1)
    with torch.no_grad():
        torch.testing.assert_close(
            lifter(points, confidence, extent)[1], lifter(moved, confidence, extent)[1]
        )


def test_log_deviations_stay_in_their_range() -> None:
    flat = 100 * torch.randn(4, sum(state_sizes(LATENT)), generator=torch.Generator().manual_seed(0))
    state = split_state(flat, LATENT)
    low, high = LOG_STD_RANGE
    for field in state[4:]:
        assert low - 1e-4 <= field.min() <= field.max() <= high + 1e-4


def test_gradients_reach_every_parameter(network: RegressorNetwork) -> None:
    output = network(*inputs(2))
    total = output.heatmaps.square().mean() + output.parts.square().mean() + output.presence_logit.sum()
    total = total + output.confidence_logit.sum() + sum(field.square().sum() for field in output.state)
    total.backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    network.zero_grad(set_to_none=True)
    assert missing == []


@pytest.mark.parametrize(
    "bad", [{"backbone": "huge"}, {"crop_px": 100}, {"latent_size": 0}, {"crop_margin": 0.5}]
)
def test_config_refuses_impossible_values(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad)).split("_")[0]):
        RegressorConfig(**{"latent_size": 4, **bad})  # type: ignore[arg-type]


def test_exported_graph_has_standard_operations_only(network: RegressorNetwork) -> None:
    """The graph is traceable with a free batch size, which is what every exporter starts from."""
    batch = torch.export.Dim("batch", min=1, max=16)
    exported = torch.export.export(network, inputs(2), dynamic_shapes=({0: batch}, {0: batch}, {0: batch}))
    operations = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert all(name.startswith(("aten.", "<built-in")) for name in operations), operations


def test_weights_that_name_the_confidence_head_as_before_still_load() -> None:
    network = RegressorNetwork(RegressorConfig(latent_size=7, backbone="tiny", crop_px=64))
    before = {
        name.replace("confidence_head.", "trust."): value for name, value in network.state_dict().items()
    }
    assert "trust.presence.bias" in before
    again = RegressorNetwork(network.config)
    again.load_state_dict(before)
    torch.nn.ModuleList([again]).load_state_dict({f"0.{name}": value for name, value in before.items()})
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name])


@torch.no_grad()
def test_inference_says_what_training_says_without_parts_and_heat_maps(network: RegressorNetwork) -> None:
    found, full = InferenceNetwork(network)(*inputs(2)), network(*inputs(2))
    for name in Inference._fields[:-1]:
        assert torch.equal(getattr(found, name), getattr(full, name)), name
    assert all(torch.equal(a, b) for a, b in zip(found.state, full.state, strict=True))
    exported = export_onnx(InferenceNetwork(network), network_inputs(network.config))
    graph = onnx.load_model_from_string(exported).graph
    assert len(graph.output) == 4 + len(found.state)
    weights = {entry.name for entry in graph.initializer}
    assert any("dense.keypoints" in name for name in weights)
    assert not any("dense.parts" in name for name in weights)
