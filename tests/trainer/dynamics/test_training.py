"""The filter's training and calibration."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.trainer.dynamics.batches import (
    draw_batch,
)
from kinestream.trainer.dynamics.clips import LatentClips
from kinestream.trainer.dynamics.rollout import unroll
from kinestream.trainer.dynamics.training import Motions, TrainConfig, calibrate, evaluate, new_run, train
from tests.trainer.dynamics.small_motion import recording

CONFIG = TrainConfig(
    dynamics=DynamicsConfig(hidden=16), steps=40, batch=8, frames=10, warmup=2, ema=0.5, learning_rate=3e-3
)


@pytest.fixture(scope="module")
def motions(clips: LatentClips) -> Motions:
    return Motions(clips, recording(clips))


def test_a_run_repeats_itself_and_resumes(motions: Motions, flow: PoseFlow, tmp_path: Path) -> None:
    config, path = replace(CONFIG, steps=4), tmp_path / "parts"

    def trained(folder: Path, **loop: int) -> LatentDynamics:
        run = new_run(motions, flow, config, folder)
        return train(run, config, flow, motions, motions, **loop)

    whole = trained(tmp_path / "whole")
    trained(path, stop_after=2)
    parts = trained(path)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value)
    with pytest.raises(ValueError, match="another configuration: steps changed"):
        new_run(motions, flow, replace(CONFIG, steps=5), path)
    other = PoseFlow(FlowConfig(depth=1, hidden=8)).eval().requires_grad_(False)
    with pytest.raises(ValueError, match="another configuration: flow changed"):
        new_run(motions, other, config, path)


def test_training_improves(motions: Motions, flow: PoseFlow, tmp_path: Path) -> None:
    run = new_run(motions, flow, CONFIG, tmp_path)
    before = evaluate(run.averaged(), flow, motions, batch=64, frames=10, batches=1)
    train(run, CONFIG, flow, motions, motions)
    after = evaluate(run.averaged(), flow, motions, batch=64, frames=10, batches=1)
    assert after["total"] < 0.9 * before["total"]
    assert after["recorded_total"] < 0.9 * before["recorded_total"]


def test_a_run_starts_from_given_weights(motions: Motions, flow: PoseFlow, tmp_path: Path) -> None:
    torch.manual_seed(3)
    start = LatentDynamics(CONFIG.dynamics)
    run = new_run(motions, flow, CONFIG, tmp_path, init=start)
    for found in (run.network, run.averaged()):
        for name, value in start.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], value)


def test_calibrated_intervals_cover_nine_of_ten(clips: LatentClips, flow: PoseFlow) -> None:
    torch.manual_seed(0)
    dynamics = LatentDynamics(DynamicsConfig(hidden=8)).requires_grad_(False)
    calibrate(dynamics, Motions(clips), batches=3)
    data = draw_batch(clips, batch=128, steps=40, rng=np.random.default_rng(5))
    (_, error, variance, valid), _ = unroll(dynamics, data).residuals(data)
    inside = error.abs() <= 1.645 * variance.sqrt() * dynamics.std_scale[0]
    assert float(inside[valid].float().mean()) == pytest.approx(0.9, abs=0.06)
