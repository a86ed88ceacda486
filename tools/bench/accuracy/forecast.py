"""Forecasts of the whole tracker on recordings of rendered people, beside holding what was known last.

    python -m kinestream.tools.bench.accuracy.forecast RECORDING ... [--model large] [--out JSON]

Clips of `kinestream.trainer.prepare.record_observations` are seen at 30 Hz; from half a second on, every
third picture is followed by forecasts. MPJPE around the pelvis in millimetres, 100 and 300 ms later: of the
forecast, and of what is held instead: the tracker's estimate, what a tracker without filter says of the
picture (with and without the temporal lifter), and the network's answer. Shares have the standard deviation
of drawing other clips.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from kinestream.body.skeleton import NUM_JOINTS
from kinestream.defaults import DEFAULT_FILTER, DEFAULT_MODEL
from kinestream.filtering.base import PersonState
from kinestream.latent.forecast_weights import ForecasterWeights
from kinestream.models import Models
from kinestream.tools import options
from kinestream.tools.bench.timing import write_report
from kinestream.tracking.motion import motion_filters
from kinestream.tracking.poser import BodyPoser
from kinestream.trainer.dynamics.evidence import seen_frames, true_state
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

Floats = npt.NDArray[np.float64]
RATE_HZ: Final = 30.0
BEGUN_S: Final = 0.5
EVERY: Final = 3
LEADS_S: Final = (0.1, 0.3)
HELD: Final = ("the estimate", "no filter", "no filter, no lifter", "the network's answer")
DRAWS: Final = 1000


def errors_mm(recorded: RecordedObservations, models: Models, poser: BodyPoser) -> dict[float, list[Floats]]:
    """Of each lead and clip the errors (N, 5) of the forecast and of everything in `HELD`."""
    stride = max(1, round(recorded.fps / RATE_HZ))
    single = replace(models, temporal_lifter=None)
    makers = [
        motion_filters(*given).new for given in ((models, DEFAULT_FILTER), (models, "none"), (single, "none"))
    ]
    rows: dict[float, list[Floats]] = {lead_s: [] for lead_s in LEADS_S}
    for clip in range(len(recorded)):
        filters = [make() for make in makers]
        said: dict[float, list[PersonState]] = {lead_s: [] for lead_s in LEADS_S}
        true: dict[float, list[PersonState]] = {lead_s: [] for lead_s in LEADS_S}
        for index, frame in enumerate(seen_frames(recorded, clip)):
            if index % stride or frame.missing:
                continue
            now = [motion.observe(frame.t_ns, frame.state, frame.evidence) for motion in filters]
            if frame.t_ns < BEGUN_S * 1e9 or index // stride % EVERY:
                continue
            for lead_s in LEADS_S:
                later = index + round(lead_s * recorded.fps)
                if later < recorded.frames:
                    ahead = filters[0].predict(frame.t_ns + round(lead_s * 1e9))
                    said[lead_s] += [ahead, *now, frame.state]
                    true[lead_s].append(true_state(recorded, clip, later, frame.state))
        for lead_s, states in said.items():
            if states:
                found = _around_pelvis(poser, states).reshape(-1, 1 + len(HELD), NUM_JOINTS, 3)
                gap = found - _around_pelvis(poser, true[lead_s])[:, None]
                rows[lead_s].append(1000 * np.linalg.norm(gap, axis=-1).mean(-1))
    return rows


def shares(rows: Sequence[Floats], seed: int = 0) -> dict[str, Any]:
    """Mean errors, and the forecast's as a share of each that is held, with its standard deviation."""
    sums = np.stack([clip.sum(0) for clip in rows])
    drawn = np.random.default_rng(seed).integers(len(sums), size=(DRAWS, len(sums)))
    again = sums[drawn].sum(1)
    mean = sums.sum(0) / sum(map(len, rows))
    spread = (again[:, :1] / again[:, 1:]).std(0)
    held = {
        name: {"mpjpe_mm": float(error), "share": float(mean[0] / error), "share_std": float(std)}
        for name, error, std in zip(HELD, mean[1:], spread, strict=True)
    }
    return {"mpjpe_mm": float(mean[0]), "held": held}


def _around_pelvis(poser: BodyPoser, states: Sequence[PersonState]) -> Floats:
    joints = np.stack([body.joints_cam_m for body in poser.pose(states)]).astype(np.float64)
    return np.asarray(joints - joints[:, :1])


def main(
    recordings: Annotated[list[Path], typer.Argument(help="of record_observations, people held out")],
    model: options.Model = DEFAULT_MODEL,
    forecaster: Annotated[Path | None, typer.Option(help="Forecaster; default: the shipped one.")] = None,
    out: options.Report = Path("docs/benchmarks/forecast.json"),
) -> None:
    """Measure forecasts, print a table, write the report."""
    torch.set_num_threads(1)
    models = Models.load(regressor=model)
    if forecaster is not None:
        models = replace(models, forecaster=ForecasterWeights.load(forecaster))
    poser = BodyPoser(models.body, models.decoder)
    measured = [errors_mm(RecordedObservations.load(path), models, poser) for path in recordings]
    table = Table("ms", "forecast, mm", *HELD, title=f"{Path(model).stem}: held instead, mm; share of it")
    results = {}
    for lead_s in LEADS_S:
        rows = [clip for part in measured for clip in part[lead_s]]
        found = shares(rows)
        cells = [
            f"{row['mpjpe_mm']:.1f}; {row['share']:.3f} ± {row['share_std']:.3f}"
            for row in found["held"].values()
        ]
        table.add_row(f"{1000 * lead_s:.0f}", f"{found['mpjpe_mm']:.1f}", *cells)
        results[f"{1000 * lead_s:.0f}"] = {"clips": len(rows)} | found
    Console(width=150).print(table)
    write_report(out, "forecast", {"weights": Path(model).stem, "results": results})


if __name__ == "__main__":
    typer.run(main)
