"""Error, smoothness, lag, calibration and cost of the filters on held-out mocap.

    python -m kinestream.tools.bench.filter --mocap CACHE.npz

Motions of the held-out subjects are dealt in turn to a
validation and a test half; baselines are tuned on the one (30 Hz, realistic noise), every number is of the
other. Each baseline appears twice, tuned for the smallest error and for the smallest acceleration error.
`--recorded` runs all of them as well on what the regressor observed of people whose motion is known
(`kinestream.trainer.prepare.record_observations`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

from kinestream.filtering.forecasting import with_forecasts
from kinestream.filtering.interpolation import InterpolationFilter
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.dynamics_weights import DEFAULT_WEIGHTS, DynamicsWeights
from kinestream.latent.flow import PoseFlow, flow_fingerprint
from kinestream.latent.forecast_weights import ForecasterWeights
from kinestream.tools import options
from kinestream.tools.bench.filter import tuning
from kinestream.tools.bench.filter.checks import LEARNED, checks, half_rate_difference
from kinestream.tools.bench.filter.plot import draw_frontier
from kinestream.tools.bench.filter.recorded import RECORDED, recorded_conditions
from kinestream.tools.bench.filter.runs import (
    LEADS_S,
    Maker,
    Scene,
    around_pelvis,
    run,
    score,
    score_forecasts,
    simulate,
)
from kinestream.tools.bench.timing import table, write_report
from kinestream.tools.metrics import motion as metrics
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.dynamics.clips import LatentClips, held_out_halves
from kinestream.trainer.dynamics.noise import PRESETS, REALISTIC, WHITE, NoiseModel
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

CLEAN = WHITE.scaled(0.03)
"""Almost perfect observations: forecasts from these are of the motion alone."""
RATES_HZ = (12.0, 24.0, 60.0)
TUNED_AT_HZ = 30.0
FORECAST = ("realistic, 30 Hz", "clean, 30 Hz", RECORDED)
"""Conditions in which forecasts are scored."""
SMOOTHNESS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
_COLUMNS = {
    "mpjpe_mm": "MPJPE mm", "camera_mpjpe_mm": "in camera mm", "acceleration_error_m_s2": "acc err m/s²",
    "jitter_100m_s3": "jitter 100m/s³", "above_10hz_mm": ">10 Hz mm", "lag_ms": "lag ms", "nll": "NLL",
    "coverage_90": "cover 90", "update_us_p50": "µs p50", "update_us_p99": "µs p99",
}  # fmt: skip


def conditions() -> dict[str, tuple[float, NoiseModel]]:
    """Rate and noise of each simulated condition by name."""
    named = {f"{name}, 30 Hz": (TUNED_AT_HZ, noise) for name, noise in PRESETS.items()}
    rates = {f"realistic, {rate:.0f} Hz": (rate, REALISTIC) for rate in RATES_HZ}
    return {**named, **rates, "clean, 30 Hz": (TUNED_AT_HZ, CLEAN)}


def tuned_baselines(scenes: Sequence[Scene], decoder: FlowDecoder) -> dict[str, tuple[str, tuning.Options]]:
    """Kind and settings of the baselines, each tuned for two objectives."""
    found = {}
    for label, objective in (("error", "mpjpe_mm"), ("acceleration", "acceleration_error_m_s2")):
        for kind, build, stages in (
            ("one-euro", tuning.one_euro, tuning.one_euro_stages()),
            ("kalman", tuning.kalman, tuning.kalman_stages()),
        ):
            chosen = tuning.tune(build, stages, objective, scenes, decoder)  # type: ignore[arg-type]
            found[f"{kind} ({label})"] = (kind, chosen)
    return found


def contestants(
    tuned: Mapping[str, tuple[str, tuning.Options]], weights: DynamicsWeights, forecaster: ForecasterWeights
) -> dict[str, Maker]:
    """What makes each filter, by its name in the tables."""
    makers: dict[str, Maker] = {"none": Unfiltered, "interpolation": InterpolationFilter}
    for name, (kind, chosen) in tuned.items():
        makers[name] = {"one-euro": tuning.one_euro, "kalman": tuning.kalman}[kind](chosen)
    for name, smoothness in LEARNED.items():
        makers[name] = with_forecasts(partial(LearnedFilter, weights, smoothness=smoothness), forecaster)
    return makers


def frontier(
    scenes: Sequence[Scene],
    decoder: FlowDecoder,
    tuned: Mapping[str, tuple[str, tuning.Options]],
    weights: DynamicsWeights,
) -> dict[str, list[dict[str, float]]]:
    """Scores of each kind of filter over its settings, smooth to quick."""
    makers: dict[str, list[Maker]] = {
        "none": [Unfiltered],
        "interpolation": [InterpolationFilter],
        "one-euro": [tuning.one_euro(o) for o in tuning.one_euro_sweep(tuned["one-euro (error)"][1])],
        "kalman": [tuning.kalman(o) for o in tuning.kalman_sweep(tuned["kalman (error)"][1])],
        "learned": [partial(LearnedFilter, weights, smoothness=value) for value in SMOOTHNESS],
    }
    return {
        name: [score(decoder, scenes, [run(make, scene) for scene in scenes]) for make in group]
        for name, group in makers.items()
    }


def true_jitter(scenes: Sequence[Scene]) -> float:
    """Jitter of the true joints around the pelvis, 100 m/s^3."""
    return float(np.mean([metrics.jitter(scene.times_s, around_pelvis(scene.joints_m)) for scene in scenes]))


def main(
    mocap: options.Mocap,
    flow: options.Flow = None,
    dynamics: Annotated[Path | None, typer.Option(help="Dynamics; default: the shipped ones.")] = None,
    forecaster: Annotated[Path | None, typer.Option(help="Forecaster; default: the shipped one.")] = None,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="Recording of kinestream.trainer.prepare.record_observations, as further conditions."
        ),
    ] = None,
    seed: options.Seed = 0,
    out: options.Report = Path("docs/benchmarks/filter.json"),
) -> None:
    """Compare the filters on held-out mocap: tables, the report, and the frontiers of jitter and lag."""
    torch.set_num_threads(1)
    console = Console(width=150)
    pose_flow, weights = PoseFlow.load(flow), DynamicsWeights.load(dynamics)
    foretold = ForecasterWeights.load(forecaster)
    if {weights.flow_id, foretold.flow_id} != {flow_fingerprint(pose_flow)}:
        console.print("[red]dynamics or forecaster were trained in the latent space of another flow[/red]")
        raise typer.Exit(1)
    decoder = FlowDecoder(pose_flow)
    halves = held_out_halves(list(MocapCache.load(mocap).clips(split="val")))
    validation, test = (LatentClips(half, pose_flow) for half in halves)

    def scenes_of(clips: LatentClips, fps: float, model: NoiseModel) -> list[Scene]:
        return simulate(clips, decoder, fps=fps, noise=model, seed=seed)

    tuned = tuned_baselines(scenes_of(validation, TUNED_AT_HZ, REALISTIC), decoder)
    clean_options = tuning.tune(
        tuning.kalman, tuning.kalman_stages(), "mpjpe_mm", scenes_of(validation, TUNED_AT_HZ, CLEAN), decoder
    )
    tables: dict[str, dict[str, Any]] = {}
    forecasts: dict[str, dict[str, Any]] = {}
    staged = {name: scenes_of(test, fps, model) for name, (fps, model) in conditions().items()}
    if recorded is not None:
        staged |= recorded_conditions(RecordedObservations.load(recorded), decoder)
    for condition, scenes in staged.items():
        makers = contestants(tuned, weights, foretold)
        if condition.startswith("clean"):
            makers["kalman (clean)"] = tuning.kalman(clean_options)
        leads = LEADS_S if condition in FORECAST else ()
        tracks = {
            name: [run(make, scene, leads_s=leads) for scene in scenes] for name, make in makers.items()
        }
        tables[condition] = {name: score(decoder, scenes, estimates) for name, estimates in tracks.items()}
        console.print(table(tables[condition], _COLUMNS, first="filter", title=condition))
        if leads:
            forecasts[condition] = {name: score_forecasts(decoder, scenes, t) for name, t in tracks.items()}
            for lead in ("100", "300"):
                rows = {name: found[lead] for name, found in forecasts[condition].items()}
                columns = {key: key.replace("_", " ") for key in next(iter(rows.values()))}
                console.print(table(rows, columns, first="filter", title=f"{condition}: {lead} ms ahead"))

    curves = {}
    pictures = {"realistic, 30 Hz": "frontier.png", RECORDED: "frontier_recorded.png"}
    for condition in staged.keys() & pictures.keys():
        scenes = staged[condition]
        curves[condition] = frontier(scenes, decoder, tuned, weights)
        title = f"Jitter and lag: {condition}"
        picture = out.with_name(f"{out.stem}_{pictures[condition]}")
        draw_frontier(curves[condition], true_jitter(scenes), picture, title=title)
    complete = scenes_of(test, 60.0, replace(REALISTIC, dropout_rate=0.0))
    half_rate = half_rate_difference(partial(LearnedFilter, weights), complete, decoder)
    size = (dynamics or DEFAULT_WEIGHTS).stat().st_size
    results = checks(tables, forecasts, curves["realistic, 30 Hz"], half_rate, size)
    for result in results:
        mark = "[green]met[/green]" if result["met"] else "[red]missed[/red]"
        console.print(
            f"{mark} {result['bar']}: {result['found']:.3g} (limit {result['limit']})", soft_wrap=True
        )
    content = {
        "held_out": {"validation": validation.names, "test": test.names},
        "noise": {name: vars(model) for name, model in (PRESETS | {"clean": CLEAN}).items()},
        "tuned": tuned | {"kalman (clean)": ("kalman", clean_options)},
        "tables": tables,
        "forecasts": forecasts,
        "frontier": curves,
        "true_jitter_100m_s3": {name: true_jitter(scenes) for name, scenes in staged.items()},
        "half_rate": half_rate,
        "weights_bytes": size,
        "checks": results,
    }
    write_report(out, "filter", content)
