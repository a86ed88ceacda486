"""Lifter samples hold together, their errors are those announced, and training goes on where it stopped."""

from pathlib import Path

import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.networks.weight_files import save_weights
from kinestream.regress.lifter import Lifter
from kinestream.regress.state_head import Evidence, StateHead
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.crops.lift_samples import RECORDED_SHARE, lift_samples, noisy_evidence
from kinestream.trainer.losses.body import in_half_extents, with_hands
from kinestream.trainer.losses.keypoints import CONFIDENCE_RADIUS
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.lifter import LIFTER_FORMAT, load_lifter, train
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import linear_decay


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def poses() -> torch.Tensor:
    return matrix_from_axis_angle(0.3 * torch.randn(20, 22, 3, generator=torch.Generator().manual_seed(1)))


def test_samples_are_seen_near_their_bodies(body: BodyModel, poses: torch.Tensor) -> None:
    batch = lift_samples(poses, body, 200, torch.Generator().manual_seed(0))
    _, keypoints = body.skeleton(batch.betas, with_hands(batch.rotations), batch.translation_m)
    true = in_half_extents(keypoints, batch.log_extent)
    distance = (batch.points - true).norm(dim=-1)
    sure = batch.confidence > 0.8
    assert sure.float().mean() > 0.5
    assert distance[sure].median() < 0.5 * CONFIDENCE_RADIUS
    assert (keypoints[..., 2] > 0.2).all()
    assert (true.abs() < 1).all(-1).float().mean() > 0.85
    torch.testing.assert_close(
        batch.rotations @ batch.rotations.mT, torch.eye(3).expand_as(batch.rotations), atol=1e-4, rtol=0
    )


def test_samples_follow_their_generator(body: BodyModel, poses: torch.Tensor) -> None:
    a, b, c = (lift_samples(poses, body, 8, torch.Generator().manual_seed(s)) for s in (4, 4, 5))
    torch.testing.assert_close(a.points, b.points)
    assert not torch.equal(a.points, c.points)


def test_confidence_is_the_chance_to_be_right() -> None:
    generator = torch.Generator().manual_seed(0)
    true = 0.6 * torch.randn(6000, NUM_KEYPOINTS, 2, generator=generator)
    points, confidence = noisy_evidence(true, generator)
    inside = (true.abs() < 1).all(-1)
    right = ((points - true).norm(dim=-1) < CONFIDENCE_RADIUS).float()
    for low, high in ((0.05, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.0)):
        chosen = inside & (confidence >= low) & (confidence < high)
        assert right[chosen].mean() == pytest.approx(confidence[chosen].mean().item(), abs=0.2)
    assert confidence[~inside].max() < 0.16


def test_learning_rate_rises_holds_and_falls() -> None:
    rates = [linear_decay(s, peak=1.0, steps=100, warmup=10, decay_share=0.3) for s in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == rates[60] == 1.0
    assert 0 < rates[99] < 0.1


def run_of(folder: Path, latent_size: int) -> TrainingRun:
    torch.manual_seed(0)
    lifter = Lifter(latent_size, hidden=32, depth=1)
    return TrainingRun(folder, lifter, torch.optim.AdamW(lifter.parameters(), lr=1e-3))


def test_training_resumes_exactly(tmp_path: Path, body: BodyModel, poses: torch.Tensor) -> None:
    torch.manual_seed(0)
    teacher = BodyTeacher(PoseFlow(FlowConfig(depth=2, hidden=16)))
    validation = lift_samples(poses, body, 16, torch.Generator().manual_seed(9))
    options = {"batch_size": 16, "peak_rate": 1e-3, "validate_every": 3}

    whole = run_of(tmp_path / "whole", teacher.flow.dim)
    train(whole, teacher, poses, validation, steps=6, **options)

    first = run_of(tmp_path / "parts", teacher.flow.dim)
    train(first, teacher, poses, validation, steps=6, stop_after=3, **options)
    second = run_of(tmp_path / "parts", teacher.flow.dim)
    assert second.resume()
    assert second.step == 3
    train(second, teacher, poses, validation, steps=6, **options)

    for a, b in zip(whole.network.state_dict().values(), second.network.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    log = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert '"pa_mpjpe_mm"' in log[-1]


def test_a_loss_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 1)
    state = TrainingRun(tmp_path, network, torch.optim.SGD(network.parameters(), lr=1.0))
    before = network.weight.detach().clone()
    assert not state.update(network(torch.full((1, 2), torch.inf)).sum(), learning_rate=1.0)
    torch.testing.assert_close(network.weight.detach(), before)
    assert state.update(network(torch.ones(1, 2)).sum(), learning_rate=0.1)
    assert not torch.equal(network.weight.detach(), before)
    assert not TrainingRun(tmp_path / "empty", network, state.optimizer).resume()


def test_a_loaded_lifter_speaks_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lifter, head = Lifter(5), StateHead(5, pooled=4, under=3)
    torch.nn.init.ones_(head.image_branch[-1].weight)
    save_weights(tmp_path / "l.safetensors", lifter, kind=LIFTER_FORMAT, config={}, notes={})
    load_lifter(head, tmp_path / "l.safetensors")
    points, logit = torch.rand(2, NUM_KEYPOINTS, 2) - 0.5, torch.randn(2, NUM_KEYPOINTS)
    evidence = Evidence(points, logit, torch.randn(2, 4), torch.randn(2, NUM_KEYPOINTS, 3))
    state = head(evidence, torch.eye(3).expand(2, 3, 3), torch.zeros(2))
    _, flat = lifter(points, torch.sigmoid(logit), torch.zeros(2))
    torch.testing.assert_close(state.z, flat[:, :5], atol=1e-3, rtol=0)  # stored in half precision
    torch.nn.init.ones_(head.image_branch[-1].weight)
    load_lifter(head, tmp_path / "l.safetensors", keep_image_branch=True)
    assert (head.image_branch[-1].weight == 1).all()


def test_recorded_errors_are_mixed_in(body: BodyModel, poses: torch.Tensor) -> None:
    recorded = KeypointErrors(
        torch.zeros(1, NUM_KEYPOINTS, 2),
        torch.zeros(1, NUM_KEYPOINTS, dtype=torch.bool),
        torch.full((1, NUM_KEYPOINTS), 0.75),
    )
    batch = lift_samples(poses, body, 400, torch.Generator().manual_seed(0), recombine=False, errors=recorded)
    share = (batch.confidence == 0.75).any(1).float().mean()
    assert share == pytest.approx(RECORDED_SHARE, abs=0.07)
    assert (batch.rotations[:, None, 1:] == poses[None, :, 1:]).flatten(2).all(-1).any(1).all()
