"""Pose priors side by side on held-out subjects.

    python -m kinestream.tools.bench.accuracy.prior --mocap MOCAP [--photos LSPET_FOLDER]

MOCAP is a mocap folder or cache. One table: negative log-likelihood, reconstruction, completion of hidden
joints, plausibility of samples, size and speed; and, with photos, fits to the 14 keypoints of LSP-Extended.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor

from kinestream.body.skeleton import FLOW_JOINT_NAMES, NUM_FLOW_JOINTS
from kinestream.geometry.rotation import geodesic_distance
from kinestream.latent.coordinates import TangentCoordinates
from kinestream.latent.decode import DEFAULT_WEIGHTS, FlowDecoder
from kinestream.latent.flow import LIGHT_WEIGHTS, PoseFlow
from kinestream.latent.prior.completion import complete_pose
from kinestream.tools import options
from kinestream.tools.bench.accuracy.prior_fit import fit_photos
from kinestream.tools.bench.timing import measure, table, write_report
from kinestream.trainer.baselines.gmm import PoseMixture
from kinestream.trainer.baselines.vae import PoseVAE, complete_by_latents, train_vae
from kinestream.trainer.data.motion.augment import LIMB_GROUPS, perturb
from kinestream.trainer.data.motion.clip import forward_joints
from kinestream.trainer.data.motion.poses import mean_rotations
from kinestream.trainer.data.motion.sanity import limit_excess
from kinestream.trainer.flow.training import TrainConfig, draw_batch, load_training_poses, spread_factor

LEGS = ("hip", "knee", "ankle", "foot")
NO_AUGMENTATION = {"swap": 0.0, "spread": 0.0}


@dataclass(frozen=True)
class Contestant:
    """One prior: what it can do, as functions; None where it has no such thing."""

    name: str
    log_prob: Callable[[Tensor], Tensor] | None
    complete: Callable[[Tensor, Tensor], Tensor]
    sample: Callable[[int, torch.Generator], Tensor]
    reconstruct: Callable[[Tensor], Tensor] | None = None


def hidden_sets(generator: torch.Generator) -> dict[str, Tensor]:
    """Masks (21,) or (R, 21) of the joints that are known: each limb, 30 % at random, halves of the body."""
    names = ("left leg", "right leg", "trunk and head", "left arm", "right arm")
    masks = {}
    for name, joints in zip(names, LIMB_GROUPS, strict=True):
        if name != "trunk and head":
            masks[name] = torch.tensor([joint not in joints for joint in FLOW_JOINT_NAMES])
    lower = torch.tensor([joint.rpartition("_")[2] in LEGS for joint in FLOW_JOINT_NAMES])
    masks["lower half"], masks["upper half"] = ~lower, lower
    masks["30 % at random"] = torch.rand(64, NUM_FLOW_JOINTS, generator=generator).argsort(1) >= 6
    return masks


def completion_error_mm(contestant: Contestant, poses: Tensor, known: Tensor) -> float:
    """Mean distance of the joints that hidden rotations move, pelvis fixed, in millimetres."""
    if known.ndim == 2:
        parts = zip(poses.chunk(8), known, strict=False)
        return float(np.mean([completion_error_mm(contestant, part, mask) for part, mask in parts]))
    completed = contestant.complete(poses, known)
    identity = torch.eye(3).expand(len(poses), 1, 3, 3)
    zero = np.zeros((len(poses), 3))
    joints = [forward_joints(torch.cat([identity, p], 1).double().numpy(), zero) for p in (completed, poses)]
    distance = np.linalg.norm(joints[0] - joints[1], axis=-1)
    moved = distance.max(axis=0) > 1e-5
    return float(1e3 * distance[:, moved].mean())


def nearest_deg(queries: Tensor, references: Tensor) -> float:
    """Mean distance of queries to the nearest reference: root mean square of joint angles, degrees."""
    q, r = queries.flatten(1), references.flatten(1)
    # |Ra - Rb|_F^2 = 8 sin^2(angle / 2) for each joint
    chord_sq = torch.cdist(q, r).amin(1).square() / NUM_FLOW_JOINTS
    return float(torch.rad2deg(2 * torch.asin((chord_sq / 8).sqrt().clamp(max=1))).mean())


def violations(poses: Tensor) -> float:
    """Share of poses in which a joint leaves its limits."""
    return float((limit_excess(poses.numpy()) > 0).any(-1).mean())


def contestants(poses: Tensor, *, vae_steps: int, mixture_poses: int) -> list[Contestant]:
    """Baselines, trained here with and without the flow's augmentation, and the shipped flows."""
    made = []
    coordinates = TangentCoordinates(mean_rotations(poses))
    factor = spread_factor(poses)
    for label, augmentation in (("", NO_AUGMENTATION), (", augmented", {})):
        batch = TrainConfig(batch=mixture_poses, **augmentation)  # type: ignore[arg-type]
        training = draw_batch(poses, factor, batch, 0)
        for components, name in ((1, "Gaussian"), (8, "GMM, 8 components")):
            mixture = PoseMixture.fit(coordinates, training, components)
            parts = (mixture.log_prob, mixture.complete, mixture.sample)
            made.append(Contestant(name + label, *parts))
        vae = train_vae(poses, TrainConfig(steps=vae_steps, batch=256, **augmentation))  # type: ignore[arg-type]
        made.append(_latent("VAE, VPoser-style" + label, vae, None, partial(complete_by_latents, vae)))
    for name, path in (("flow, light", LIGHT_WEIGHTS), ("flow, main", DEFAULT_WEIGHTS)):
        flow = PoseFlow.load(path)
        made.append(_latent(name, flow, flow.log_prob, partial(complete_pose, flow)))
    return made


def _latent(
    name: str,
    prior: PoseVAE | PoseFlow,
    log_prob: Callable[[Tensor], Tensor] | None,
    complete: Callable[[Tensor, Tensor], Tensor],
) -> Contestant:
    return Contestant(
        name,
        log_prob,
        complete,
        lambda count, generator: prior.sample(count, generator=generator),
        lambda poses: prior.decode(prior.encode(poses)),
    )


def evaluate(
    contestant: Contestant, poses: Tensor, val_poses: Tensor, *, noise_rad: float, count: int
) -> dict[str, float | None]:
    """All figures of one prior; None where it does not define one."""
    row: dict[str, float | None] = {
        "nll": None,
        "reconstruction_mean_deg": None,
        "reconstruction_max_rad": None,
    }
    generator = torch.Generator().manual_seed(0)
    noisy = torch.cat([perturb(c, noise_rad, generator) for c in torch.split(val_poses, 4096)])
    with torch.no_grad():
        if contestant.log_prob is not None:
            row["nll"] = -float(torch.cat([contestant.log_prob(c) for c in torch.split(noisy, 4096)]).mean())
        if contestant.reconstruct is not None:
            parts = [geodesic_distance(contestant.reconstruct(c), c) for c in torch.split(val_poses, 4096)]
            row["reconstruction_mean_deg"] = math.degrees(float(torch.cat(parts).mean()))
            row["reconstruction_max_rad"] = float(torch.cat(parts).max())
        samples = contestant.sample(2000, generator)
    chosen = val_poses[torch.randperm(len(val_poses), generator=generator)[:count]]
    errors = {
        name: completion_error_mm(contestant, chosen, mask) for name, mask in hidden_sets(generator).items()
    }
    row["completion_mm"] = float(np.mean(list(errors.values())))
    row.update({f"completion_mm, {name}": error for name, error in errors.items()})
    few = poses[torch.randperm(len(poses), generator=generator)[:40000]]
    row["sample_to_real_deg"] = nearest_deg(samples, few)
    row["real_to_sample_deg"] = nearest_deg(chosen, samples)
    row["limit_violation_share"] = violations(samples)
    return row


def real_row(poses: Tensor, val_poses: Tensor) -> dict[str, float | None]:
    """The same figures of held-out real poses, where they make sense."""
    generator = torch.Generator().manual_seed(0)
    few = poses[torch.randperm(len(poses), generator=generator)[:40000]]
    some = val_poses[torch.randperm(len(val_poses), generator=generator)[:2000]]
    return {"sample_to_real_deg": nearest_deg(some, few), "limit_violation_share": violations(some)}


def decode_speed(path: Path) -> dict[str, Any]:
    """Size of the weights and time of the run-time decoder for 1 and 64 poses."""
    decoder = FlowDecoder(PoseFlow.load(path))
    latent = np.random.default_rng(0).normal(size=(64, decoder.dim)).astype(np.float32)
    return {
        "bytes": path.stat().st_size,
        "decode 1 pose": measure(lambda: decoder.decode(latent[:1])).__dict__,
        "decode 64 poses": measure(lambda: decoder.decode(latent)).__dict__,
    }


def main(
    mocap: options.Mocap,
    photos: Annotated[
        Path | None, typer.Option(help="LSP-Extended folder: images/, labels.json, val.txt.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where a cache of MOCAP may be kept.")] = Path("."),
    count: Annotated[int, typer.Option(help="Poses to complete.")] = 128,
    vae_steps: Annotated[int, typer.Option(help="Training steps of the VAE.")] = 2500,
    mixture_poses: Annotated[int, typer.Option(help="Training poses of the mixtures.")] = 40000,
    out: options.Report = Path("docs/benchmarks/prior.json"),
) -> None:
    """Compare pose priors on MOCAP's held-out subjects."""
    torch.set_num_threads(1)
    console = Console()
    config = TrainConfig()
    poses, val_poses = load_training_poses(mocap, config, work)
    rows: dict[str, dict[str, float | None]] = {"real, held-out": real_row(poses, val_poses)}
    for contestant in contestants(poses, vae_steps=vae_steps, mixture_poses=mixture_poses):
        rows[contestant.name] = evaluate(
            contestant, poses, val_poses, noise_rad=config.noise_rad, count=count
        )
        console.print(contestant.name, {k: v and round(v, 3) for k, v in rows[contestant.name].items()})
    flows = {"flow, main": DEFAULT_WEIGHTS, "flow, light": LIGHT_WEIGHTS}
    report: dict[str, Any] = {
        "noise_rad": config.noise_rad, "train_poses": len(poses), "val_poses": len(val_poses),
        "completed_poses": count, "table": rows,
        "run_time": {path.stem: decode_speed(path) for path in flows.values()},
    }  # fmt: skip
    if photos is not None:
        report["fits"] = {name: fit_photos(PoseFlow.load(path), photos) for name, path in flows.items()}
        console.print(report["fits"])
    write_report(out, "prior", report)
    columns = ("nll", "completion_mm", "sample_to_real_deg", "real_to_sample_deg", "limit_violation_share")
    console.print(table(rows, dict(zip(columns, columns, strict=True)), first="prior"))


if __name__ == "__main__":
    typer.run(main)
