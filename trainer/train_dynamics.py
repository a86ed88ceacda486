"""Train the dynamics: `python -m kinestream.trainer.train_dynamics --run FOLDER --mocap CACHE`.

The whole filter is trained, unrolled over simulated observations with random frame rates, drops and noise,
and over observations of rendered people and of the real lifter (`--recorded`, made by
`kinestream.trainer.prepare.record_observations` and `simulate_observations` and brought to what the filter
sees by `update_observations`): likelihood of its estimates and of its forecasts up to half
a second ahead, plus errors of the joints. Every step draws from a generator seeded by (seed, step), so a run
that was interrupted and resumed sees the same batches. Standard deviations are calibrated at the end on the
validation half of the held-out clips, and on other recorded people. Writes ``dynamics.safetensors``.
"""

from typing import Annotated

import torch
import typer

from kinestream.latent.dynamics import DynamicsConfig, LatentDynamics
from kinestream.latent.flow import PoseFlow
from kinestream.trainer import options
from kinestream.trainer.dynamics.rollout import advance
from kinestream.trainer.dynamics.training import Motions, TrainConfig, calibrate, new_run, train


def main(
    run: options.Run,
    mocap: options.Mocap,
    flow: options.Flow = None,
    init: options.Init = None,
    steps: int = 3000,
    stop_after: options.StopAfter = None,
    batch_size: Annotated[int, typer.Option(help="sequences a step")] = 96,
    frames: Annotated[int, typer.Option(help="frames of a sequence")] = 40,
    hidden: Annotated[int, typer.Option(help="width of the recurrent cell")] = 160,
    peak_rate: options.PeakRate = 2e-3,
    seed: int = 0,
    threads: int = 1,
    recorded: options.Recorded = None,
    recorded_validation: options.RecordedValidation = None,
    compiled: Annotated[
        bool, typer.Option(help="torch.compile the step: slow start, twice the pace")
    ] = False,
) -> None:
    """Train the dynamics. Started again, it goes on from its checkpoint."""
    options.set_up(threads=threads, seed=seed)
    pose_flow = PoseFlow.load(flow)
    motions, validation = Motions.load(mocap, pose_flow, recorded, recorded_validation)
    config = TrainConfig(
        dynamics=DynamicsConfig(latent=pose_flow.dim, hidden=hidden),
        steps=steps, batch=batch_size, frames=frames, learning_rate=peak_rate, seed=seed,
    )  # fmt: skip
    start = None if init is None else LatentDynamics.load(init)
    training = new_run(motions, pose_flow, config, run, init=start)
    dynamics = train(
        training,
        config,
        pose_flow,
        motions,
        validation,
        step=torch.compile(advance, dynamic=False) if compiled else advance,
        stop_after=stop_after,
        log_every=20,
        validate_every=100,
    )
    calibrate(dynamics, validation)
    dynamics.save(run / "dynamics.safetensors", notes={"step": str(training.step), "seed": str(seed)})


if __name__ == "__main__":
    typer.run(main)
