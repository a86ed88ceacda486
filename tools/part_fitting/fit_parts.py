"""Recover perturbed poses from part maps alone: a worked example of the alignment loss and the flow prior.

    python -m kinestream.tools.part_fitting.fit_parts --out fit.json --strip fit.png [--mocap CACHE]

People are rendered to maps of their 15 body parts. Each fit starts from a copy of mean shape whose root and
joints are turned by angles from N(0, 20 degrees) and which is moved by 10 cm, and optimises pose, root,
translation and shape. The size of the perturbation is known, so a fit is drawn to its start as weakly as that
noise says: it is what holds limbs that the map does not show. It is run with this and the light flow's prior,
without the flow's prior, and with both but without the alignment loss. Errors are PA-MPJPE over the 24
joints, after the best similarity transform.

The pose is moved in the tangents of its joints and its latent z = flow.encode(pose) carries the prior. The
flow is a bijection, so this is the problem in z, in coordinates that are better conditioned far from likely
poses.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from kinestream.body.arrays import DEFAULT_BODY_PATH, load_body_arrays
from kinestream.body.model import BodyModel
from kinestream.geometry.camera import Camera
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.kernels.alignment import alignment_loss
from kinestream.latent.flow import LIGHT_WEIGHTS, PoseFlow
from kinestream.tools import options
from kinestream.tools.bench.timing import table, write_report
from kinestream.tools.part_fitting.scenes import (
    Bodies,
    perturbed,
    place_people,
    render_parts,
    square_camera,
    thinned,
)
from kinestream.tools.part_fitting.strip import write_strip
from kinestream.trainer.data.motion.poses import load_poses
from kinestream.trainer.metrics import aligned_error

ANGLE_DEG: Final = 20.0
SHIFT_M: Final = 0.1
GOOD_MM: Final = 40.0
MAP_PX: Final = 256
THINNING: Final = 3  # one vertex of so many takes part in the loss
_BATCH: Final = 10  # fits that run together


@dataclass(frozen=True)
class FitOptions:
    """Weights and schedule of a fit; sigma_px goes from its first value to its last, geometrically."""

    alignment_weight: float = 1.0
    background_weight: float = 0.2
    prior_weight: float = 1e-2
    start_weight: float = 3.5e-3
    shape_weight: float = 1.6e-3
    sigma_px: tuple[float, float] = (64.0, 4.0)
    steps: int = 250
    rate: float = 0.05
    visibility_every: int = 10

    def sigma_at(self, step: int) -> float:
        """Scale of the robustifier at a step, in pixels of the map."""
        first, last = self.sigma_px
        return float(first * (last / first) ** (step / max(self.steps - 1, 1)))


VARIANTS: Final = {
    "alignment and both priors": FitOptions(),
    "both priors, no alignment": FitOptions(alignment_weight=0.0),
    "alignment, no flow prior": FitOptions(prior_weight=0.0),
}


class Unknowns:
    """What a fit optimises: bodies as steps away from a start."""

    def __init__(self, start: Bodies) -> None:
        batch = len(start.betas)
        self.start = start
        self.turns = torch.zeros(batch, 22, 3, requires_grad=True)
        self.shift_m = torch.zeros(batch, 3, requires_grad=True)
        self.betas = start.betas.clone().requires_grad_(True)

    def optimiser(self, rate: float) -> torch.optim.Adam:
        """Adam that moves the translation more slowly than the angles."""
        groups: list[dict[str, Any]] = [
            {"params": [self.turns, self.betas]},
            {"params": [self.shift_m], "lr": rate / 3},
        ]
        return torch.optim.Adam(groups, lr=rate)

    def squared_turns(self) -> Tensor:
        """Squares (B,22) of the angles from the start, in standard deviations of its noise."""
        return self.turns.square().sum(-1) / np.deg2rad(ANGLE_DEG) ** 2

    def bodies(self) -> Bodies:
        """Current parameters, differentiable."""
        start = self.start
        moved = start.rotations[:, :22] @ matrix_from_axis_angle(self.turns)
        rotations = torch.cat([moved, start.rotations[:, 22:]], 1)
        return Bodies(self.betas, rotations, start.translation_m + self.shift_m)


def fit(
    body: BodyModel, flow: PoseFlow, start: Bodies, part_map: Tensor, camera: Camera, config: FitOptions
) -> Bodies:
    """Bodies (B) that explain the part maps (B,H,W), from a start, by Adam with a shrinking robust scale."""
    intrinsics = torch.tensor(camera.K, dtype=torch.float32)
    thin, kept = thinned(load_body_arrays(DEFAULT_BODY_PATH), THINNING)
    unknowns = Unknowns(start)
    optimiser = unknowns.optimiser(config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps, config.rate / 50)
    visible = torch.ones(0)
    for step in range(config.steps):
        bodies = unknowns.bodies()
        latent = flow.encode(bodies.rotations[:, 1:22])
        loss = config.prior_weight * latent.square().mean(1)
        loss = loss + config.start_weight * unknowns.squared_turns().mean(1)
        loss = loss + config.shape_weight * bodies.betas.square().mean(1)
        if config.alignment_weight:
            if step % config.visibility_every == 0:
                with torch.no_grad():
                    _, seen = render_parts(body, bodies.posed(body).vertices_m, camera)
                visible = seen[:, kept]
            alignment = alignment_loss(
                bodies.posed(thin).vertices_m,
                thin.part_labels,
                part_map,
                camera=intrinsics,
                visibility=visible,
                background_weight=config.background_weight,
                sigma_px=config.sigma_at(step),
            )
            loss = loss + config.alignment_weight * alignment.total
        optimiser.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return unknowns.bodies()


def joint_errors_mm(body: BodyModel, found: Bodies, true: Bodies) -> NDArray[np.float64]:
    """PA-MPJPE (B,) in millimetres."""
    with torch.no_grad():
        joints = [bodies.posed(body).joints_m.double() for bodies in (found, true)]
    return 1e3 * aligned_error(*joints)


def true_poses(cases: int, cache: Path | None, flow: PoseFlow, generator: torch.Generator) -> Tensor:
    """Poses (B,21,3,3): held-out mocap from a cache, else samples of the flow."""
    if cache is None:
        return flow.sample(cases, temperature=0.8, generator=generator)
    poses = load_poses(cache, "val", step_rad=0.5)
    return poses[torch.randperm(len(poses), generator=generator)[:cases]]


def summary(errors_mm: NDArray[np.float64]) -> dict[str, Any]:
    """Share of good cases, median and all errors."""
    return {
        "share_below_40_mm": round(float((errors_mm < GOOD_MM).mean()), 3),
        "median_mm": round(float(np.median(errors_mm)), 1),
        "errors_mm": [round(float(error), 1) for error in errors_mm],
    }


def main(
    out: options.Report,
    strip: Annotated[Path | None, typer.Option(help="PNG of some fits to write.")] = None,
    mocap: Annotated[Path | None, typer.Option(help="Mocap cache; default: samples of the flow.")] = None,
    cases: Annotated[int, typer.Option(help="Seeded cases.", min=1)] = 50,
    seed: options.Seed = 1,
) -> None:
    """Fit perturbed bodies to part maps, with and without the prior and the loss."""
    body, flow, camera = BodyModel.load(), PoseFlow.load(LIGHT_WEIGHTS), square_camera(MAP_PX)
    generator = torch.Generator().manual_seed(seed)
    people = place_people(true_poses(cases, mocap, flow, generator), generator)
    start = perturbed(people, generator, angle_deg=ANGLE_DEG, shift_m=SHIFT_M)
    with torch.no_grad():
        part_map, _ = render_parts(body, people.posed(body).vertices_m, camera)
    results: dict[str, Any] = {"start": summary(joint_errors_mm(body, start, people))}
    console = Console()
    for name, variant in VARIANTS.items():
        batches = []
        for rows in torch.split(torch.arange(cases), _BATCH):
            batches.append(fit(body, flow, start.rows(rows), part_map[rows], camera, variant))
            console.print(f"{name}: {int(rows[-1]) + 1} of {cases}")
        found = Bodies.joined(batches)
        results[name] = summary(joint_errors_mm(body, found, people))
        if strip and variant is VARIANTS["alignment and both priors"]:
            write_strip(strip, body, camera, part_map, {"start": start, "fit": found, "truth": people})
    columns = {"share_below_40_mm": f"share below {GOOD_MM:.0f} mm", "median_mm": "median mm"}
    console.print(table(results, columns, first="fit", title=f"PA-MPJPE, {cases} cases"))
    content = {"cases": cases, "seed": seed, "truth": "held-out mocap" if mocap else "samples of the flow"}
    write_report(out, "fit_parts", content | {"results": results})


if __name__ == "__main__":
    typer.run(main)
