"""The state head alone: it learns from evidence that was computed once, and resumes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.networks.interface import RegressorConfig
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.state_head import Evidence, StateHead
from kinestream.trainer.data.crops.crop_sample import BodyLabel, CropSample
from kinestream.trainer.data.crops.lift_samples import lift_samples
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.state_head import ObservedBodies, evaluate, observe, train
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.weights.calibrate import calibrate, errors_and_deviations

POOLED, UNDER = 6, 4


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> BodyTeacher:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    PoseFlow(FlowConfig(depth=2, hidden=16)).save(path)
    return BodyTeacher(path)


def poses(count: int = 30) -> torch.Tensor:
    return matrix_from_axis_angle(0.3 * torch.randn(count, 22, 3, generator=torch.Generator().manual_seed(1)))


def observed(teacher: BodyTeacher, count: int, seed: int) -> ObservedBodies:
    """Bodies whose evidence is the lifter's own kind, with features of noise."""
    generator = torch.Generator().manual_seed(seed)
    batch = lift_samples(poses(), teacher.body, count, generator)
    evidence = Evidence(
        batch.points,
        torch.logit(batch.confidence.clamp(0.01, 0.99)),
        torch.randn(count, POOLED, generator=generator),
        torch.randn(count, batch.points.shape[1], UNDER, generator=generator),
    )
    identity = torch.eye(3).expand(count, 3, 3)
    labels = (batch.log_extent, batch.rotations, batch.translation_m, batch.betas)
    return ObservedBodies(evidence, identity, *labels)


def new_run(folder: Path, teacher: BodyTeacher) -> TrainingRun:
    torch.manual_seed(0)
    head = StateHead(teacher.flow.dim, pooled=POOLED, under=UNDER)
    return TrainingRun(folder, head, torch.optim.AdamW(head.parameters(), lr=1e-3), average_decay=0.9)


def test_it_learns_and_resumes(tmp_path: Path, teacher: BodyTeacher) -> None:
    crops, held_out = observed(teacher, 64, 2), observed(teacher, 32, 3)
    run = new_run(tmp_path, teacher)
    before = evaluate(run.network, teacher, held_out)
    options = {"batch_size": 16, "peak_rate": 1e-3, "warmup": 3, "validate_every": 10}
    train(run, teacher, crops, held_out, poses(), steps=10, **options)
    again = new_run(tmp_path, teacher)
    assert again.resume()
    assert again.step == 10
    train(again, teacher, crops, held_out, poses(), steps=30, **options)
    after = evaluate(again.average.module, teacher, held_out)
    assert after["joints"] < 0.9 * before["joints"]
    assert after["reprojection"] < before["reprojection"]


def test_rows_are_those_asked_for(teacher: BodyTeacher) -> None:
    bodies = observed(teacher, 6, 4)
    some = bodies.rows(torch.tensor([4, 1]))
    torch.testing.assert_close(some.betas, bodies.betas[[4, 1]])
    torch.testing.assert_close(some.evidence.points, bodies.evidence.points[[4, 1]])


def test_observations_are_kept_in_a_file(tmp_path: Path, teacher: BodyTeacher) -> None:
    bodies = observed(teacher, 5, 4)
    bodies.save(tmp_path / "observations")
    again = ObservedBodies.load(tmp_path / "observations")
    torch.testing.assert_close(again.rotations, bodies.rotations)
    torch.testing.assert_close(again.evidence.under, bodies.evidence.under)
    np.savez(tmp_path / "other.npz", points=np.zeros(3))
    with pytest.raises(ValueError, match="expected observations"):
        ObservedBodies.load(tmp_path / "other.npz")


def test_features_are_dropped_and_nothing_else(teacher: BodyTeacher) -> None:
    bodies = observed(teacher, 400, 4)
    thinned = bodies.without_features(0.4, torch.Generator().manual_seed(0))
    for before, after in zip(bodies.evidence[2:], thinned.evidence[2:], strict=True):
        kept = after != 0
        assert kept.float().mean() == pytest.approx(0.6, abs=0.03)
        torch.testing.assert_close(after[kept], before[kept] / 0.6)
    assert thinned.evidence.points is bodies.evidence.points and thinned.betas is bodies.betas


def test_deviations_are_scaled_to_the_errors(tmp_path: Path, teacher: BodyTeacher) -> None:
    head, bodies = new_run(tmp_path, teacher).network, observed(teacher, 64, 5)
    before = head(bodies.evidence, bodies.to_virtual, bodies.log_extent)
    calibrate(head, teacher, bodies)
    after = head(bodies.evidence, bodies.to_virtual, bodies.log_extent)
    torch.testing.assert_close(after.z, before.z)
    errors, log_std = errors_and_deviations(head, teacher, bodies)
    square = (errors / log_std.exp()).square().mean(0)
    assert square.median() == pytest.approx(1.0, abs=0.1)


class SamePerson:
    """A crop that is always of the same body."""

    def sample(self, rng: np.random.Generator) -> CropSample:
        image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        keypoints, known = np.zeros((NUM_KEYPOINTS, 3), np.float32), np.ones(NUM_KEYPOINTS, np.bool_)
        turns = np.tile(np.eye(3, dtype=np.float32), (22, 1, 1))
        place, betas = np.array([0, 0, 3], np.float32), np.zeros(10, np.float32)
        body = BodyLabel(np.array([1, 1, 0, 0], np.float32), turns, place, betas)
        return CropSample(image, keypoints, known, np.zeros((32, 32), np.uint8), body=body)


def test_evidence_in_half_precision_are_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = RegressorNetwork(RegressorConfig(latent_size=5, backbone="tiny", crop_px=64))
    exact, rough = (observe(network, SamePerson(), 5, seed=1, bfloat16=half) for half in (False, True))
    assert {field.dtype for field in rough.evidence} == {torch.float32}
    a, b = exact.evidence.pooled, rough.evidence.pooled
    torch.testing.assert_close(a, b, rtol=0.05, atol=0.05 * float(a.abs().max()))
    assert not torch.equal(a, b)
    assert torch.equal(exact.betas, rough.betas)
