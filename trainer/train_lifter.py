"""Train the lifter on motion capture alone.

    python -m kinestream.trainer.train_lifter --run FOLDER --mocap CACHE

Writes ``lifter.safetensors``, from which `kinestream.trainer.train_regressor --lifter` starts.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from kinestream.regress.lifter import Lifter
from kinestream.regress.regressor import load_network
from kinestream.trainer import options
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.crops.lift_samples import lift_samples
from kinestream.trainer.data.motion.variety import rooted_poses
from kinestream.trainer.regressor.body_teacher import BodyTeacher
from kinestream.trainer.regressor.lifter import LIFTER_FORMAT, train
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import step_generator

VALIDATION_SAMPLES = 2048


def main(
    run: options.Run,
    mocap: options.Mocap,
    flow: options.Flow = None,
    keypoint_errors: options.RecordedErrors = None,
    init: Annotated[Path | None, typer.Option(help="regressor whose lifter to start from")] = None,
    steps: int = 20000,
    batch_size: int = 256,
    peak_rate: options.PeakRate = 1e-3,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Train, then write ``lifter.safetensors`` (averaged weights) into the run's folder."""
    options.set_up(threads=threads, seed=seed)
    teacher = BodyTeacher(flow)
    lifter = Lifter(teacher.flow.dim)
    if init is not None:
        lifter.load_state_dict(load_network(init).head.lifter.state_dict())
    training = TrainingRun(
        run, lifter, torch.optim.AdamW(lifter.parameters(), lr=peak_rate, weight_decay=1e-2)
    )
    training.resume()
    train(
        training,
        teacher,
        rooted_poses(mocap, "train"),
        lift_samples(rooted_poses(mocap, "val"), teacher.body, VALIDATION_SAMPLES, step_generator(0, 12345)),
        steps=steps,
        batch_size=batch_size,
        peak_rate=peak_rate,
        seed=seed,
        errors=None if keypoint_errors is None else KeypointErrors.load(keypoint_errors),
        log_every=200,
        validate_every=1000,
    )
    training.ship("lifter.safetensors", kind=LIFTER_FORMAT, config={"latent_size": teacher.flow.dim})


if __name__ == "__main__":
    typer.run(main)
