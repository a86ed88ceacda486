"""Plausibility and completion, on a flow whose posterior is known and on the shipped one."""

import pytest
import torch

from kinestream.geometry.rotation import axis_angle_from_matrix, geodesic_distance, matrix_from_axis_angle
from kinestream.latent.couplings import InvertibleLinear
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.latent.prior.completion import complete_pose, plausibility, sample_completions

KNOWN = torch.ones(21, dtype=torch.bool)
KNOWN[1] = False
OWN_RAD, SHARED_RAD = 0.1, 0.3


@pytest.fixture(scope="module")
def twins() -> PoseFlow:
    """A Gaussian: joint 1 turns about x as joint 0 does (0.3 rad), plus 0.1 rad of its own."""
    flow = PoseFlow(FlowConfig(depth=1, hidden=4))
    covariance = 0.05**2 * torch.eye(63, dtype=torch.float64)
    covariance[0, 0] = covariance[0, 3] = covariance[3, 0] = SHARED_RAD**2
    covariance[3, 3] = SHARED_RAD**2 + OWN_RAD**2
    first = flow.layers[0]
    assert isinstance(first, InvertibleLinear)
    first.set_whitening(torch.zeros(63), covariance)
    return flow.eval().requires_grad_(False)


def turned(angles: list[float]) -> torch.Tensor:
    """Poses whose joint 0 turns about x by these angles."""
    vectors = torch.zeros(len(angles), 21, 3)
    vectors[:, 0, 0] = torch.tensor(angles)
    return matrix_from_axis_angle(vectors)


def test_hidden_joints_follow_what_the_prior_ties_them_to(twins: PoseFlow) -> None:
    truth = turned([0.3, -0.45])
    completed = complete_pose(twins, truth, KNOWN, samples=16)
    angles = axis_angle_from_matrix(completed[:, 1])[:, 0]
    torch.testing.assert_close(angles, torch.tensor([0.3, -0.45]), atol=0.03, rtol=0)
    torch.testing.assert_close(completed[:, KNOWN], truth[:, KNOWN])


def test_samples_have_the_posteriors_spread(twins: PoseFlow) -> None:
    drawn = sample_completions(twins, turned([0.15]), KNOWN, samples=600)
    angles = axis_angle_from_matrix(drawn[0, :, 1])[:, 0]
    assert drawn.shape == (1, 600, 21, 3, 3)
    assert float(angles.std()) == pytest.approx(OWN_RAD, rel=0.12)
    assert float(angles.mean()) == pytest.approx(0.15, abs=0.02)


def test_masks_of_single_poses_and_of_all(twins: PoseFlow) -> None:
    truth = turned([0.3, 0.3, 0.3])
    masks = torch.ones(3, 21, dtype=torch.bool)
    masks[1, 1] = False
    masks[2] = False
    completed = complete_pose(twins, truth, masks, samples=64, steps=80)
    torch.testing.assert_close(completed[0], truth[0])
    assert geodesic_distance(completed[1, 1], truth[1, 0]) < 0.06  # tied to its twin
    assert geodesic_distance(completed[2, 0], torch.eye(3)) < 0.15  # nothing known: the mean


def test_completion_is_seeded_and_ignores_hidden_rotations() -> None:
    flow = PoseFlow.load()
    truth = flow.sample(3, temperature=0.7, generator=torch.Generator().manual_seed(0))
    known = torch.ones(3, 21, dtype=torch.bool)
    known[:, 10:] = False
    spoiled = truth.clone()
    spoiled[:, 10:] = torch.eye(3)
    first = complete_pose(flow, truth, known, samples=2, steps=10)
    second = complete_pose(flow, spoiled, known, samples=2, steps=10)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first[:, :10], truth[:, :10])


def test_completion_beats_the_ordinary_pose_on_the_flows_own_samples() -> None:
    flow = PoseFlow.load()
    truth = flow.sample(16, temperature=0.8, generator=torch.Generator().manual_seed(1))
    known = torch.ones(21, dtype=torch.bool)
    known[14] = False  # the head, which shares its motion with the neck
    completed = complete_pose(flow, truth, known)
    ordinary = flow.decode(torch.zeros(1, 63))
    ours = geodesic_distance(completed[:, 14], truth[:, 14]).mean()
    assert ours < 0.7 * geodesic_distance(ordinary[:, 14], truth[:, 14]).mean()


def test_plausibility_ranks_poses() -> None:
    flow = PoseFlow.load()
    ordinary = flow.decode(torch.zeros(1, 63))
    odd = matrix_from_axis_angle(torch.tensor([-1.5, 1.0, 1.0]).expand(1, 21, 3))
    scores = plausibility(flow, torch.cat([ordinary, odd]))
    assert scores[0] > 0.5
    assert scores[1] == 0.0
    with pytest.raises(ValueError, match="train_flow"):
        plausibility(PoseFlow(FlowConfig(depth=1, hidden=8)), ordinary)


@pytest.mark.parametrize(
    ("shape", "known"),
    [
        ((2, 24, 3, 3), KNOWN),
        ((2, 21, 3, 3), KNOWN[:20]),
        ((2, 21, 3, 3), KNOWN.float()),
        ((2, 21, 3, 3), KNOWN.expand(3, 21)),
    ],
)
def test_wrong_shapes(twins: PoseFlow, shape: tuple[int, ...], known: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must be"):
        complete_pose(twins, torch.eye(3).expand(shape), known)


def test_wrong_settings(twins: PoseFlow) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        complete_pose(twins, turned([0.1]), KNOWN, steps=0)
