"""Train the temporal lifter: `python -m kinestream.trainer.train_temporal_lifter --run FOLDER --mocap CACHE`.

It learns on motion capture that the real lifter sees through bad keypoints, simulated without end, and on
recordings of rendered people (``--recorded``, by `kinestream.trainer.prepare.record_observations`), where the
network's state errs as it does in pictures. Writes ``temporal_lifter.safetensors``.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from kinestream.body.model import BodyModel
from kinestream.filtering.temporal_lifter import FORMAT
from kinestream.latent.flow import PoseFlow, flow_fingerprint
from kinestream.networks.weight_files import fill, read_weights, save_weights
from kinestream.trainer import options
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.dynamics.clips import held_out_halves
from kinestream.trainer.dynamics.keypoint_windows import random_windows
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator
from kinestream.trainer.dynamics.temporal_lifter import (
    LiftingLoss,
    TemporalLifter,
    train,
)
from kinestream.trainer.regressor.lifter import read_lifter
from kinestream.trainer.run_state import TrainingRun
from kinestream.trainer.schedule import step_generator

VALIDATION_WINDOWS = 1024


def main(
    run: options.Run,
    mocap: options.Mocap,
    lifter: options.TrainedLifter,
    keypoint_errors: options.RecordedErrors,
    flow: options.Flow = None,
    init: Annotated[Path | None, typer.Option(help="temporal lifter to start from")] = None,
    recorded: Annotated[list[Path] | None, typer.Option(help="recordings to learn from as well")] = None,
    recorded_validation: Annotated[
        list[Path] | None, typer.Option(help="recordings of other people, to measure on")
    ] = None,
    recorded_share: Annotated[
        float, typer.Option(help="share of windows from recordings", min=0, max=1)
    ] = 0.4,
    steps: int = 12000,
    batch_size: Annotated[int, typer.Option(help="windows a step")] = 224,
    peak_rate: options.PeakRate = 7e-4,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Train the temporal lifter. Started again, it goes on from its checkpoint."""
    options.set_up(threads=threads, seed=seed)
    pose_flow, body = PoseFlow.load(flow), BodyModel.load()
    single = read_lifter(lifter, pose_flow.dim)
    errors, cache = KeypointErrors.load(keypoint_errors), MocapCache.load(mocap)
    network = TemporalLifter(pose_flow.dim)
    if init is None:
        network.begin_with(single)
    else:
        fill(network, read_weights(init, kind=FORMAT).arrays, path=init)
    training = TrainingRun(
        run,
        network,
        torch.optim.AdamW(network.parameters(), lr=peak_rate, weight_decay=2e-2),
        average_decay=0.995,
    )
    training.resume()
    clips = list(cache.clips(split="train"))
    held_out = held_out_halves(list(cache.clips(split="val")))[0]
    unseen = ObservationSimulator(held_out, pose_flow, body, single, errors)(
        128, frames=120, fps=60.0, seed=(seed, 1), varied=False
    )
    validation = {"simulated": unseen}
    for path in recorded_validation or ():
        validation[path.stem] = RecordedObservations.load(path)
    train(
        training,
        LiftingLoss(pose_flow, body),
        ObservationSimulator(clips, pose_flow, body, single, errors),
        [RecordedObservations.load(path) for path in recorded or ()],
        {
            name: random_windows(found, VALIDATION_WINDOWS, step_generator(seed, 1))
            for name, found in validation.items()
        },
        steps=steps,
        batch_size=batch_size,
        recorded_share=recorded_share,
        peak_rate=peak_rate,
        seed=seed,
        clip_norm=1.0,
    )
    notes = {"flow_id": flow_fingerprint(pose_flow), "steps": str(training.step)}
    save_weights(
        run / "temporal_lifter.safetensors", training.averaged(), kind=FORMAT, config={}, notes=notes
    )


if __name__ == "__main__":
    typer.run(main)
