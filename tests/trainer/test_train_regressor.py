"""Training the regressor on a handful of crops: it learns, resumes, and what it writes is what is run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.networks.interface import RegressorConfig
from kinestream.regress.network import RegressorNetwork
from kinestream.trainer.data.crops.crop_sample import PART_UNKNOWN, BodyLabel, CropSample, collate
from kinestream.trainer.losses.body import with_hands
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.training import evaluate, regressor_loss, train
from kinestream.trainer.run_state import TrainingRun

SIDE = 64


class OneBody:
    """The same upright body at a random place; a bright patch marks where it is."""

    def __init__(self) -> None:
        self.body = BodyModel.load()

    def sample(self, rng: np.random.Generator) -> CropSample:
        intrinsics = np.array([2.0, 2.0, 0.0, 0.0], np.float32)
        rotations = np.tile(np.eye(3, dtype=np.float32), (22, 1, 1))
        rotations[0] = np.diag([1, -1, -1])
        translation = np.array([*rng.uniform(-0.4, 0.4, 2), 3.0], np.float32)
        betas = np.zeros(10, np.float32)
        _, keypoints = self.body.skeleton(
            torch.from_numpy(betas)[None],
            with_hands(torch.from_numpy(rotations)[None]),
            torch.from_numpy(translation)[None],
        )
        points = keypoints[0].numpy()
        plane = points[:, :2] / points[:, 2:] * 2.0
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        for x, y in np.clip((plane + 1) * SIDE / 2, 1, SIDE - 2).astype(int):
            image[y - 1 : y + 2, x - 1 : x + 2] = 255
        labels = np.concatenate([plane, np.ones((len(plane), 1))], 1).astype(np.float32)
        labels[(np.abs(plane) >= 1).any(1), 2] = 0
        parts = np.full((SIDE // 4, SIDE // 4), PART_UNKNOWN, np.uint8)
        parts[0] = 0
        return CropSample(
            image,
            labels,
            np.ones(len(plane), np.bool_),
            parts,
            body=BodyLabel(intrinsics, rotations, translation, betas),
        )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> BodyTeacher:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    PoseFlow(FlowConfig(depth=2, hidden=16)).save(path)
    return BodyTeacher(path)


def new_run(folder: Path, latent_size: int) -> TrainingRun:
    torch.manual_seed(0)
    network = RegressorNetwork(RegressorConfig(latent_size=latent_size, backbone="tiny", crop_px=SIDE))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    return TrainingRun(folder, network, optimizer, average_decay=0.9)


def test_it_learns_and_resumes(tmp_path: Path, teacher: BodyTeacher) -> None:
    source = OneBody()
    rng = np.random.default_rng(99)
    fixed = {"same": [source.sample(rng) for _ in range(8)]}
    options = {
        "sources": source,
        "validation": fixed,
        "teacher": teacher,
        "steps": 24,
        "batch_size": 8,
        "peak_rate": 2e-3,
        "warmup": 4,
        "bfloat16": False,
        "validate_every": 12,
    }
    run = new_run(tmp_path / "run", teacher.flow.dim)
    before = evaluate(run.network, fixed["same"], teacher)
    train(run=run, **options, stop_after=12)
    again = new_run(tmp_path / "run", teacher.flow.dim)
    assert again.resume()
    assert again.step == 12
    train(run=again, **options)
    after = evaluate(again.average.module, fixed["same"], teacher)
    assert after["heatmap"] < before["heatmap"] - 0.5
    assert after["mpjpe_mm"] < before["mpjpe_mm"]

    whole = new_run(tmp_path / "whole", teacher.flow.dim)
    train(run=whole, **options)
    for a, b in zip(whole.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_photos_teach_bodies_by_reprojection_only(teacher: BodyTeacher) -> None:
    torch.manual_seed(0)
    network = RegressorNetwork(RegressorConfig(latent_size=teacher.flow.dim, backbone="tiny", crop_px=SIDE))
    rng = np.random.default_rng(0)
    sample = OneBody().sample(rng)
    photo = CropSample(sample.image, sample.keypoints, sample.known, sample.parts)
    batch = collate([photo, photo])
    assert not batch.has_body.any()
    output = network(batch.images, batch.to_virtual, batch.log_extent)
    loss, terms = regressor_loss(output, batch, teacher)
    assert not any(name.startswith("body_") for name in terms)
    assert terms["weak_reprojection"] > 0
    loss.backward()
    assert torch.isfinite(network.head.lifter.state.weight.grad).all()
    output = network(batch.images, batch.to_virtual, batch.log_extent)
    _, terms = regressor_loss(output, batch, None)
    assert not any(name.startswith("weak_") for name in terms)

    mixed = collate([photo, sample])
    output = network(mixed.images, mixed.to_virtual, mixed.log_extent)
    loss, terms = regressor_loss(output, mixed, teacher)
    assert {"body_latent", "body_joints", "body_root"} <= set(terms)
    loss.backward()
    assert torch.isfinite(network.head.lifter.state.weight.grad).all()
