"""The contestants of the filter benchmark, and the search for the baselines' best settings."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from kinestream.filtering.gating import OPEN_GATE, Gate
from kinestream.filtering.kalman import KalmanFilter, KalmanSettings
from kinestream.filtering.one_euro import OneEuroFilter, OneEuroSettings
from kinestream.latent.decode import FlowDecoder
from kinestream.tools.bench.filter.runs import Maker, Scene, run, score

Objective = Literal["mpjpe_mm", "acceleration_error_m_s2", "camera_mpjpe_mm"]
Options = dict[str, Any]
Stages = Sequence[tuple[Objective | None, Sequence[Callable[[Options], Options]]]]
"""Objective of each stage (None: that of the whole search) and the changes to choose from."""

CUTOFFS_HZ = (0.7, 1.5, 3.0, 6.0)
BETAS = (0.0, 0.2, 0.6, 2.0)
ROOT_BETAS = (0.0, 1.0, 3.0, 10.0)
DENSITIES = (1.0, 5.0, 25.0, 125.0, 625.0)
INFLATIONS = (1.0, 3.0, 8.0)
GATES = (Gate(), OPEN_GATE)


def one_euro(options: Options) -> Maker:
    """A One Euro filter with settings by signal."""
    return partial(OneEuroFilter, **options)


def kalman(options: Options) -> Maker:
    """A constant-velocity Kalman filter with these settings."""
    settings = {name: value for name, value in options.items() if name != "gate"}
    return partial(KalmanFilter, KalmanSettings(**settings), gate=options.get("gate"))


def one_euro_stages() -> Stages:
    """Latent and root by the wanted objective, translation by the error in the camera frame."""

    def choices(signal: str, betas: Sequence[float]) -> Sequence[Callable[[Options], Options]]:
        settings = [OneEuroSettings(cutoff, beta) for cutoff in CUTOFFS_HZ for beta in betas]
        return [partial(_with, {signal: setting}) for setting in settings]

    return [
        (None, choices("latent", BETAS)),
        (None, choices("root", ROOT_BETAS)),
        ("camera_mpjpe_mm", choices("translation", ROOT_BETAS)),
    ]


def kalman_stages() -> Stages:
    """Latent density with inflation, and root, by the wanted objective; translation in the camera frame."""
    latent = [
        partial(_with, {"latent": density, "inflation": inflation})
        for density in DENSITIES
        for inflation in INFLATIONS
    ]
    root = [partial(_with, {"root": density / 10}) for density in DENSITIES]
    translation = [partial(_with, {"translation": density / 100}) for density in DENSITIES]
    gate = [partial(_with, {"gate": choice}) for choice in GATES]
    return [(None, latent), (None, root), (None, gate), ("camera_mpjpe_mm", translation)]


def tune(
    build: Callable[[Options], Maker],
    stages: Stages,
    objective: Objective,
    scenes: Sequence[Scene],
    decoder: FlowDecoder,
) -> Options:
    """Choose, stage by stage, the change that makes the stage's objective smallest."""
    best: Options = {}
    for own, changes in stages:
        key = own or objective
        candidates = [change(best) for change in changes]
        values = [
            score(decoder, scenes, [run(build(options), scene) for scene in scenes], lag=False)[key]
            for options in candidates
        ]
        best = candidates[values.index(min(values))]
    return best


def one_euro_sweep(best: Options) -> list[Options]:
    """Settings around the best ones, from quick to smooth, for the frontier."""
    sweep = []
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        for beta in (0.3, 1.0, 3.0):
            sweep.append(
                {
                    name: replace(
                        setting,
                        min_cutoff_hz=setting.min_cutoff_hz * factor,
                        beta=max(setting.beta, 0.05) * beta,
                    )
                    for name, setting in best.items()
                }
            )
    return sweep


def kalman_sweep(best: Options) -> list[Options]:
    """Settings around the best ones, from smooth to quick, for the frontier."""
    factors = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    return [best | {"latent": best["latent"] * f, "root": best["root"] * f} for f in factors]


def _with(change: Options, options: Options) -> Options:
    return {**options, **change}
