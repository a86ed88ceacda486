"""The state head alone: it learns from evidence that was seen once, and resumes."""

from pathlib import Path

import pytest
import torch

from tracker.body.rotation import matrix_from_axis_angle
from tracker.latent.flow import FlowConfig, PoseFlow
from tracker.regress.state_head import Evidence, StateHead
from trainer.data.lift_samples import lift_samples
from trainer.train_regressor import Teacher
from trainer.train_state import SeenBodies, evaluate, train
from trainer.training_state import TrainingRun

POOLED, UNDER = 6, 4


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    PoseFlow(FlowConfig(depth=2, hidden=16)).save(path)
    return Teacher(path)


def poses(count: int = 30) -> torch.Tensor:
    return matrix_from_axis_angle(0.3 * torch.randn(count, 22, 3, generator=torch.Generator().manual_seed(1)))


def seen(teacher: Teacher, count: int, seed: int) -> SeenBodies:
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
    return SeenBodies(evidence, identity, *labels)


def new_run(folder: Path, teacher: Teacher) -> TrainingRun:
    torch.manual_seed(0)
    head = StateHead(teacher.flow.dim, pooled=POOLED, under=UNDER)
    return TrainingRun(folder, head, torch.optim.AdamW(head.parameters(), lr=1e-3), average_decay=0.9)


def test_it_learns_and_resumes(tmp_path: Path, teacher: Teacher) -> None:
    crops, held_out = seen(teacher, 64, 2), seen(teacher, 32, 3)
    run = new_run(tmp_path, teacher)
    before = evaluate(run.network, teacher, held_out)
    options = {"batch_size": 16, "peak_rate": 1e-3, "warmup": 3, "evaluate_every": 10}
    train(run, teacher, crops, held_out, poses(), steps=10, **options)
    again = new_run(tmp_path, teacher)
    assert again.resume()
    assert again.step == 10
    train(again, teacher, crops, held_out, poses(), steps=30, **options)
    after = evaluate(again.average.module, teacher, held_out)
    assert after["joints"] < 0.9 * before["joints"]
    assert after["reprojection"] < before["reprojection"]


def test_rows_are_those_asked_for(teacher: Teacher) -> None:
    bodies = seen(teacher, 6, 4)
    some = bodies.rows(torch.tensor([4, 1]))
    torch.testing.assert_close(some.betas, bodies.betas[[4, 1]])
    torch.testing.assert_close(some.evidence.points, bodies.evidence.points[[4, 1]])
