"""Measure how the regressor errs on rendered clips whose truth is exact, as a noise model for the filters.

    python -m tools.bench.residuals CACHE.npz --data DATA --report residuals.json

CACHE is made by `trainer.build_mocap`; its held-out motions are acted by clothed people before real
backgrounds. Every frame is looked at once, in a box that is off as much as a tracker's. The report is what
`tools.bench.filter --noise` and `trainer.train_dynamics --noise` read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from tools.bench.residual_statistics import Measured, Residuals, measure
from tools.bench.timing import write_report
from tracker.body.rotation import quat_from_matrix
from tracker.latent.filtering.base import PersonState
from tracker.latent.filtering.root import Mean, difference, mean_of, std_of, unit
from tracker.latent.flow import PoseFlow
from tracker.regress.regressor import DEFAULT_WEIGHTS, Regressor
from trainer.scenes.generator import SceneGenerator
from trainer.scenes.knobs import SceneKnobs
from trainer.scenes.poses import ClipPoses
from trainer.scenes.sample import Frame, PersonLabels
from trainer.scenes.stage import SceneAssets

PRESENT = 0.5
BOX_JITTER = 0.02
"""Standard deviation of a box's centre (in its longer sides) and of the logarithm of its size."""


def residuals_of(
    frames: Iterable[Frame], regressor: Regressor, flow: PoseFlow, rng: np.random.Generator, *, fps: float
) -> Residuals:
    """What the regressor says of the first person of each frame, against the truth."""
    errors, stds, missing = [], [], []
    for frame in frames:
        person = frame.people[0]
        seen = regressor(frame.image, _jittered(person.box_xyxy_px, rng)[None], frame.camera)
        told = PersonState.from_observations(seen, 0)
        errors.append(difference(mean_of(told), true_mean(person, flow)))
        stds.append(std_of(told, floor=1e-6))
        missing.append(bool(seen.presence[0] < PRESENT))
    return Residuals(1 / fps, np.stack(errors), np.stack(stds), np.array(missing))


def true_mean(person: PersonLabels, flow: PoseFlow) -> Mean:
    """A person's labels as a state."""
    with torch.no_grad():
        latent = flow.encode(torch.from_numpy(person.rotations[None, 1:22]))[0].numpy()
    w, x, y, z = quat_from_matrix(person.rotations[0].astype(np.float64)).tolist()
    return Mean(latent, unit((w, x, y, z)), person.translation_m)


def _jittered(box: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    shift = rng.normal(0, BOX_JITTER, 3)
    half = size / 2 * np.exp(shift[2])
    centre = centre + shift[:2] * size.max()
    return np.concatenate([centre - half, centre + half]).astype(np.float64)


def show(console: Console, measured: Measured) -> None:
    """Print both tables."""
    table = Table("parameter", "value", title="noise model")
    for name, value in vars(measured.noise).items():
        table.add_row(name, f"{float(value):.3g}")
    console.print(table)
    columns = next(iter(measured.groups.values()))
    table = Table("group", *columns, title="residuals")
    for name, row in measured.groups.items():
        table.add_row(name, *(f"{value:.3g}" for value in row.values()))
    console.print(table)


def main(
    cache: Annotated[Path, typer.Argument(help="Mocap cache made by trainer.build_mocap.")],
    data: Annotated[Path, typer.Option(envvar="KINESTREAM_DATA", help="Data folder.")],
    report: Annotated[Path, typer.Option(help="JSON to write.")],
    weights: Annotated[Path, typer.Option(help="Regressor weights.")] = DEFAULT_WEIGHTS,
    flow: Annotated[Path | None, typer.Option(help="Pose flow; the shipped one by default.")] = None,
    clips: Annotated[int, typer.Option(help="Clips.", min=1)] = 24,
    frames: Annotated[int, typer.Option(help="Frames of each.", min=2)] = 60,
    fps: Annotated[float, typer.Option(help="Their rate.", min=1.0)] = 30.0,
    seed: Annotated[int, typer.Option(help="Seed of the first clip.")] = 0,
) -> None:
    """Render clips, look at every frame, print and write the noise model."""
    torch.set_num_threads(1)
    console = Console()
    knobs = SceneKnobs(image_sizes_px=((640, 480), (480, 640)), clip_fps=fps)
    generator = SceneGenerator(SceneAssets.load(data), ClipPoses.load(cache, split="val"), knobs)
    regressor, pose_flow = Regressor.load(weights), PoseFlow.load(flow)
    found = []
    for index in range(seed, seed + clips):
        rng = np.random.default_rng((index, 9))
        found.append(residuals_of(generator.clip(index, frames=frames), regressor, pose_flow, rng, fps=fps))
        console.print(f"{len(found)} of {clips} clips")
    measured = measure(found)
    show(console, measured)
    content: dict[str, Any] = {
        "weights": weights.name,
        "clips": clips,
        "frames": frames,
        "fps": fps,
        "seed": seed,
    }
    write_report(report, "residuals", content | measured.report())


if __name__ == "__main__":
    typer.run(main)
