"""The torch-free flow: the same bijection as `PoseFlow`, and its exact derivative."""

import numpy as np
import pytest
import torch

from kinestream.geometry.compiled_rotation import turn
from kinestream.geometry.rotation import axis_angle_from_matrix
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.latent.flow_map import FlowMap


@pytest.fixture(scope="module")
def flow() -> PoseFlow:
    return PoseFlow.load()


@pytest.fixture(scope="module")
def flow_map(flow: PoseFlow) -> FlowMap:
    return FlowMap(flow)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0])
def test_both_directions_are_those_of_the_flow(flow: PoseFlow, flow_map: FlowMap, scale: float) -> None:
    z = (scale * np.random.default_rng(0).normal(size=63)).astype(np.float32)
    expected = flow.decode(torch.from_numpy(z)[None])[0].numpy()
    np.testing.assert_allclose(flow_map.rotations(z), expected, atol=5e-6)
    np.testing.assert_allclose(flow_map.linearise(z)[0], expected, atol=5e-6)
    np.testing.assert_allclose(flow_map.encode(expected), z, atol=2e-4)


def test_tangents_are_the_derivative(flow: PoseFlow, flow_map: FlowMap) -> None:
    z = torch.from_numpy(np.random.default_rng(1).normal(size=63))
    exact = PoseFlow(flow.config)
    exact.load_state_dict(flow.state_dict())
    exact = exact.double()
    start = exact.decode(z[None])[0].detach()

    def turns(latent: torch.Tensor) -> torch.Tensor:
        return axis_angle_from_matrix(start.mT @ exact.decode(latent[None])[0]).flatten()

    jacobian = torch.autograd.functional.jacobian(turns, z).numpy()
    np.testing.assert_allclose(flow_map.linearise(z.numpy())[1], jacobian, atol=2e-5)


def test_the_right_jacobian_of_exp() -> None:
    exp, right, moved, spare = np.empty((4, 1, 3, 3))
    for vector in (np.array([0.3, -1.2, 0.7]), np.array([1e-6, 0.0, 2e-6]), np.zeros(3)):
        for axis in range(3):
            step = 1e-5 * np.eye(3)[axis]
            turn(np.eye(3)[None], (vector + step)[None], moved, spare)
            turn(np.eye(3)[None], vector[None], exp, right)
            np.testing.assert_allclose(
                axis_angle_from_matrix(exp[0].T @ moved[0]) / 1e-5, right[0, :, axis], atol=1e-5
            )


def test_other_flows_are_refused() -> None:
    with pytest.raises(TypeError, match="light"):
        FlowMap(PoseFlow(FlowConfig("light", depth=2)))


def test_wrong_shapes_are_told(flow_map: FlowMap) -> None:
    with pytest.raises(ValueError, match=r"\(63,\)"):
        flow_map.linearise(np.zeros((2, 63)))
