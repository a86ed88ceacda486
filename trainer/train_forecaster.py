"""Train the forecaster: `python -m kinestream.trainer.train_forecaster --run FOLDER --mocap CACHE`.

It learns how estimates go on: those of the learned filter (`--dynamics`) of simulated observations, at random
tempo, frame rates, noise and drops, and those of the whole tracker of recorded people (`--estimates`, made by
`kinestream.trainer.prepare.estimate_observations`), also mirrored. Writes ``forecaster.safetensors``.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kinestream.latent.dynamics import LatentDynamics
from kinestream.latent.flow import PoseFlow
from kinestream.latent.forecast import ForecasterConfig, MotionForecaster
from kinestream.trainer import options
from kinestream.trainer.dynamics.forecasts import Estimated, ForecastTraining, new_run, train
from kinestream.trainer.dynamics.recorded_estimates import RecordedEstimates
from kinestream.trainer.dynamics.training import Motions


def main(
    run: options.Run,
    mocap: options.Mocap,
    flow: options.Flow = None,
    dynamics: Annotated[
        Path | None, typer.Option(help="the filter's weights; default: the shipped ones")
    ] = None,
    init: options.Init = None,
    steps: int = 3000,
    stop_after: options.StopAfter = None,
    batch_size: Annotated[int, typer.Option(help="sequences a step")] = 64,
    hidden: Annotated[int, typer.Option(help="width of the recurrent cell")] = 192,
    peak_rate: options.PeakRate = 1e-3,
    seed: int = 0,
    threads: int = 1,
    estimates: Annotated[
        list[Path] | None, typer.Option(help="of prepare.estimate_observations, to learn from as well")
    ] = None,
    estimates_validation: Annotated[
        list[Path] | None, typer.Option(help="the same of other people, to measure on")
    ] = None,
) -> None:
    """Train the forecaster. Started again, it goes on from its checkpoint."""
    options.set_up(threads=threads, seed=seed)
    pose_flow, motion = PoseFlow.load(flow), LatentDynamics.load(dynamics)
    source, validation = (
        Estimated(part.clips, motion, RecordedEstimates.load_all(paths) if paths else None)
        for part, paths in zip(Motions.load(mocap, pose_flow), (estimates, estimates_validation), strict=True)
    )
    if source.recorded is not None:
        both = [source.recorded, source.recorded.mirrored(pose_flow)]
        source = replace(source, recorded=RecordedEstimates.joined(both))
    config = ForecastTraining(
        forecaster=ForecasterConfig(latent=pose_flow.dim, hidden=hidden),
        steps=steps, batch=batch_size, learning_rate=peak_rate, seed=seed,
    )  # fmt: skip
    start = None if init is None else MotionForecaster.load(init)
    training = new_run(source, config, run, init=start)
    forecaster = train(
        training,
        config,
        pose_flow,
        source,
        validation,
        stop_after=stop_after,
        log_every=20,
        validate_every=250,
    )
    forecaster.save(run / "forecaster.safetensors", notes={"step": str(training.step), "seed": str(seed)})


if __name__ == "__main__":
    typer.run(main)
