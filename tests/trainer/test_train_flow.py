"""Training of the flow: learns, resumes exactly, spreads over processes; augmentation and baselines."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinestream.body.skeleton import FLOW_JOINT_NAMES
from kinestream.geometry.rotation import geodesic_distance, matrix_from_axis_angle
from kinestream.latent.coordinates import TangentCoordinates
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.trainer.baselines.gmm import PoseMixture
from kinestream.trainer.baselines.vae import train_vae
from kinestream.trainer.data.motion.augment import LIMB_GROUPS, perturb, spread, swap_limbs
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.flow.training import (
    TrainConfig,
    draw_batch,
    evaluate,
    new_run,
    spread_factor,
    train,
)
from kinestream.trainer.train_flow import main

TINY = TrainConfig(flow=FlowConfig(depth=2, hidden=16), steps=30, batch=32, warmup=5, learning_rate=3e-3)


def poses(count: int, seed: int = 0) -> torch.Tensor:
    """Poses on a bent, low-dimensional set, which a Gaussian does not describe well."""
    generator = torch.Generator().manual_seed(seed)
    phase = 2 * torch.pi * torch.rand(count, 1, 1, generator=generator)
    shape = torch.randn(21, 3, generator=torch.Generator().manual_seed(99))
    vectors = 0.4 * torch.sin(phase + 3 * shape) + 0.3 * torch.cos(2 * phase) * shape
    return matrix_from_axis_angle(vectors)


def trained(
    folder: Path, config: TrainConfig = TINY, *, count: int = 300, held_out: int = 50, **loop: int
) -> tuple[PoseFlow, list[dict[str, Any]]]:
    """The averaged flow and its validations."""
    run = new_run(poses(count), config, folder)
    return train(run, config, poses(count), poses(held_out, 1), **loop), run.history("nll")


def test_training_learns_and_is_seeded(tmp_path: Path) -> None:
    config = replace(TINY, steps=120, swap=0.0, spread=0.0, noise_rad=0.1)
    first, history = trained(tmp_path / "a", config, count=500, held_out=200, validate_every=40)
    second, _ = trained(tmp_path / "b", config, count=500, held_out=200, validate_every=40)
    assert history[-1]["nll"] < history[0]["nll"] - 0.5
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert evaluate(first, poses(200, 1), 0.1)["nll"] == pytest.approx(history[-1]["nll"], abs=1e-4)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, history = trained(tmp_path / "whole", validate_every=10)
    trained(tmp_path / "parts", stop_after=13, validate_every=10)
    resumed, again = trained(tmp_path / "parts", validate_every=10)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert again[-1]["nll"] == history[-1]["nll"]
    assert [entry["step"] for entry in again] == [10, 13, 20, 30]


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, replace(TINY, steps=2))
    with pytest.raises(ValueError, match="another configuration: seed changed"):
        trained(tmp_path, replace(TINY, steps=2, seed=1))


def test_a_flow_trained_on_keeps_its_latent_space(tmp_path: Path) -> None:
    before, history = trained(tmp_path / "before", replace(TINY, steps=120))
    before.save(tmp_path / "flow.safetensors")
    config = replace(TINY, steps=10, learning_rate=1e-4)
    run = new_run(poses(300), config, tmp_path / "on", init=tmp_path / "flow.safetensors")
    after = train(run, config, poses(300), poses(50, 1))
    with torch.no_grad():
        latents = [flow.encode(poses(50, 1)) for flow in (before, after)]
    assert 0 < float((latents[1] - latents[0]).abs().max()) < 0.1
    assert run.history("nll")[-1]["nll"] < history[-1]["nll"] + 0.5
    other = replace(config, flow=replace(TINY.flow, depth=3))
    with pytest.raises(ValueError, match="depth=2.*asked for was.*depth=3"):
        new_run(poses(300), other, tmp_path / "other", init=tmp_path / "flow.safetensors")


def test_a_small_flow_trains_and_stays_a_bijection(tmp_path: Path) -> None:
    config = replace(TINY, flow=FlowConfig(depth=1, hidden=8), steps=4)
    flow, history = trained(tmp_path, config, count=400)
    assert np.isfinite(history[-1]["nll"])
    assert geodesic_distance(flow.decode(flow.encode(poses(20, 2))), poses(20, 2)).max() < 1e-4


def test_two_processes_equal_one(tmp_path: Path) -> None:
    frames = poses(120).double().numpy()
    root = np.broadcast_to(np.eye(3), (120, 1, 3, 3))
    rotations = np.concatenate([root, frames], axis=1)
    clips = [
        MotionClip("a", rotations[:90], np.zeros((90, 3)), 30.0, "train"),
        MotionClip("b", rotations[90:], np.zeros((30, 3)), 30.0, "val"),
    ]
    cache = tmp_path / "cache.npz"
    MocapCache.from_clips(clips).save(cache)
    options = {"depth": 1, "hidden": 8, "steps": 3, "batch_size": 32, "step_rad": 0.01}
    main(tmp_path / "one", cache, **options)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "--", "kinestream.trainer.train_flow"]
    command += ["--run", str(tmp_path / "two"), "--mocap", str(cache)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-2000:]
    one, two = (PoseFlow.load(tmp_path / name / "flow.safetensors") for name in ("one", "two"))
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3, msg=name)
    metrics = json.loads((tmp_path / "two" / "flow.json").read_text())
    assert metrics["processes"] == 2
    assert metrics["history"][-1]["step"] == 3
    assert two.real_log_probs is not None


def test_batches_depend_on_seed_and_step_only() -> None:
    data, factor = poses(50), spread_factor(poses(200))
    first = draw_batch(data, factor, TINY, 7)
    assert torch.equal(first, draw_batch(data, factor, TINY, 7))
    assert not torch.equal(first, draw_batch(data, factor, TINY, 8))
    assert not torch.equal(first, draw_batch(data, factor, replace(TINY, seed=1), 7))


def test_swapped_limbs_come_whole_from_one_other_pose() -> None:
    data = poses(64)
    swapped = swap_limbs(data, 0.5, torch.Generator().manual_seed(0))
    changed = 0
    for names in LIMB_GROUPS:
        joints = [FLOW_JOINT_NAMES.index(name) for name in names]
        match = (swapped[:, None, joints] == data[None, :, joints]).flatten(2).all(-1)
        assert match.any(1).all()
        changed += int((~match.diagonal()).sum())
    assert 0.3 < changed / (64 * len(LIMB_GROUPS)) < 0.7
    assert sorted(name for names in LIMB_GROUPS for name in names) == sorted(FLOW_JOINT_NAMES)


def test_noise_has_its_size() -> None:
    data = poses(400)
    angles = geodesic_distance(perturb(data, 0.05, torch.Generator().manual_seed(0)), data)
    assert float(angles.square().mean().sqrt()) == pytest.approx(0.05 * 3**0.5, rel=0.03)
    factor = torch.diag(torch.cat([torch.full((3,), 0.2), torch.zeros(60)]))
    moved = geodesic_distance(spread(data, factor, 1.0, torch.Generator().manual_seed(0)), data)
    assert moved[:, 1:].max() < 1e-3
    assert moved[:, 0].mean() > 0.05


def test_mixtures_density_integrates_samples_and_conditions() -> None:
    data = poses(3000)
    noisy = perturb(data, 0.15, torch.Generator().manual_seed(1))
    coordinates = TangentCoordinates()
    one, four = (PoseMixture.fit(coordinates, noisy, k, iterations=10) for k in (1, 4))
    held_out = perturb(poses(500, 5), 0.15, torch.Generator().manual_seed(2))
    assert four.log_prob(held_out).mean() > one.log_prob(held_out).mean() + 1.0
    drawn = one.sample(4000, torch.Generator().manual_seed(3))
    x = coordinates.encode(drawn)[0].double()
    torch.testing.assert_close(x.mean(0), one.means[0], atol=0.05, rtol=0)
    known = torch.ones(21, dtype=torch.bool)
    known[4] = False
    completed = four.complete(held_out, known)
    torch.testing.assert_close(completed[:, known], held_out[:, known])
    ordinary = coordinates.decode(one.means[:1].float())
    ours = geodesic_distance(completed[:, 4], held_out[:, 4]).mean()
    assert ours < 0.8 * geodesic_distance(ordinary[:, 4], held_out[:, 4]).mean()


def test_the_vae_reconstructs() -> None:
    vae = train_vae(poses(500), replace(TINY, steps=150, swap=0.0, spread=0.0), hidden=32)
    held_out = poses(100, 3)
    error = geodesic_distance(vae.decode(vae.encode(held_out)), held_out).mean()
    ordinary = geodesic_distance(vae.decode(torch.zeros(1, vae.dim)), held_out).mean()
    assert error < 0.5 * ordinary
    assert vae.sample(3, generator=torch.Generator().manual_seed(0)).shape == (3, 21, 3, 3)
