"""How the regressor errs in motion: figures of a recording whose truth is exact.

    python -m kinestream.trainer.prepare.record_observations --mocap CACHE --data DATA --out OBSERVED
    python -m kinestream.tools.bench.filter.residuals OBSERVED --out residuals.json

Errors are in the error state of `kinestream.filtering.error_state`: latent (D), root rotation vector (3),
camera translation (3).
"""

from pathlib import Path
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console

from kinestream.latent.dynamics import Pose, difference
from kinestream.tools import options
from kinestream.tools.bench.timing import table, write_report
from kinestream.tools.metrics.motion import coverage
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

Floats = npt.NDArray[np.floating]

STEP_S: Final = 1 / 30
"""Time over which changes are taken."""


def statistics(recorded: RecordedObservations) -> dict[str, dict[str, float]]:
    """Figures by group of dimensions; latent units, radians, metres.

    - ``rms``: of the errors; ``constant_share``: that part of their variance which lasts a whole clip.
    - ``reported_over_actual``, ``coverage_90``: what the standard deviations are worth.
    - ``follows``: slope of what is seen over the truth, both around their means over each clip.
    - ``true_step``, ``seen_step``: rms change in 1/30 s.
    - ``white``: standard deviation of what differs from frame to frame, from second differences.

    Raises ``ValueError`` where fewer than three frames were seen.
    """
    clips, frames = recorded.z.shape[:2]
    if frames < 3 or recorded.missing.all():
        raise ValueError(f"expected clips of three seen frames or more, found {clips} of {frames} frames")
    true = _pose(recorded.z, recorded.root_quat_wxyz, recorded.translation_m)
    seen = _pose(recorded.seen_z, recorded.seen_root_quat_wxyz, recorded.seen_translation_m)
    hit = ~recorded.missing
    error = _between(true, seen, (clips, frames))
    lag = max(1, round(STEP_S * recorded.fps))
    true_moved, seen_moved = (_from_first(pose, (clips, frames)) for pose in (true, seen))
    size = recorded.z.shape[2]
    groups = {
        "latent": slice(0, size),
        "root": slice(size, size + 3),
        "across the view": slice(size + 3, size + 5),
        "along the view": slice(size + 5, size + 6),
    }
    return {
        name: _figures(error, recorded.std, true_moved, seen_moved, hit, lag, part)
        for name, part in groups.items()
    }


def _figures(
    error: Floats,
    std: Floats,
    true_moved: Floats,
    seen_moved: Floats,
    hit: npt.NDArray[np.bool_],
    lag: int,
    part: slice,
) -> dict[str, float]:
    error, std, true, seen = (values[..., part] for values in (error, std, true_moved, seen_moved))
    variance = np.square(error[hit]).mean()
    means = [clip[flags].mean(0) for clip, flags in zip(error, hit, strict=True) if flags.any()]
    pairs = hit[:, lag:] & hit[:, :-lag]
    triples = hit[:, 2:] & hit[:, 1:-1] & hit[:, :-2]
    bend = error[:, 2:] - 2 * error[:, 1:-1] + error[:, :-2]
    true_around, seen_around = (_around_mean(values, hit) for values in (true, seen))
    return {
        "rms": float(np.sqrt(variance)),
        "constant_share": float(np.square(np.stack(means)).mean() / variance),
        "reported_over_actual": float(np.sqrt(np.square(std[hit]).mean() / variance)),
        "coverage_90": coverage(error[hit], std[hit]),
        "follows": float((true_around * seen_around).sum() / np.square(true_around).sum()),
        "true_step": _rms((true[:, lag:] - true[:, :-lag])[pairs]),
        "seen_step": _rms((seen[:, lag:] - seen[:, :-lag])[pairs]),
        "white": _rms(bend[triples]) / 6**0.5,
    }


def _around_mean(values: Floats, hit: npt.NDArray[np.bool_]) -> Floats:
    """Values (N, T, n) around each clip's mean over the frames seen; zero in the others."""
    weight = hit[..., None].astype(float)
    mean = (values * weight).sum(1, keepdims=True) / np.maximum(weight.sum(1, keepdims=True), 1)
    return np.asarray((values - mean) * weight)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _pose(z: Floats, root: Floats, translation: Floats) -> Pose:
    flat = (part.reshape(-1, part.shape[-1]).astype(np.float32) for part in (z, root, translation))
    return Pose(*map(torch.from_numpy, flat))


def _between(origin: Pose, target: Pose, shape: tuple[int, int]) -> Floats:
    return difference(target, origin).numpy().reshape(*shape, -1).astype(np.float64)


def _from_first(pose: Pose, shape: tuple[int, int]) -> Floats:
    """How far each frame is from its clip's first, as an error state."""
    clips, frames = shape
    first = Pose(*(part[::frames].repeat_interleave(frames, 0) for part in pose))
    return _between(first, pose, (clips, frames))


def main(
    recorded: Annotated[
        Path, typer.Argument(help="Recording made by kinestream.trainer.prepare.record_observations.")
    ],
    out: options.Report = Path("docs/benchmarks/residuals.json"),
) -> None:
    """Print how the regressor errs, by group of dimensions, and write it down."""
    recording = RecordedObservations.load(recorded)
    found = statistics(recording)
    columns = {name: name for name in next(iter(found.values()))}
    Console(width=130).print(table(found, columns, first="group", title="errors of the regressor"))
    content = {
        "clips": len(recording),
        "frames": recording.frames,
        "fps": recording.fps,
        "missed_share": float(recording.missing.mean()),
        "groups": {name: {k: float(f"{v:.4g}") for k, v in row.items()} for name, row in found.items()},
    }
    write_report(out, "residuals", content)


if __name__ == "__main__":
    typer.run(main)
