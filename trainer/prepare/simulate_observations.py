"""Simulate observations of motion capture through the real lifter.

    python -m kinestream.trainer.prepare.simulate_observations --mocap CACHE --lifter WEIGHTS
    --keypoint-errors ERRORS --out OUT.npz

Writes what `kinestream.trainer.prepare.record_observations` writes of rendered people, at a thousandth of
its cost: see `kinestream.trainer.dynamics.simulated_observations`.
"""

from pathlib import Path
from typing import Annotated

import typer

from kinestream.body.model import BodyModel
from kinestream.latent.flow import PoseFlow
from kinestream.trainer import options
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator
from kinestream.trainer.regressor.lifter import read_lifter

_AT_ONCE = 24


def main(
    mocap: options.Mocap,
    lifter: options.TrainedLifter,
    out: Annotated[Path, typer.Option(help="recording to write (.npz)")],
    keypoint_errors: options.RecordedErrors = None,
    split: Annotated[str, typer.Option(help="motions to take: train or val")] = "train",
    flow: options.Flow = None,
    clips: Annotated[int, typer.Option(min=1)] = 960,
    frames: Annotated[int, typer.Option(help="frames of a clip", min=2)] = 132,
    fps: Annotated[float, typer.Option(help="their rate", min=1.0)] = 60.0,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Write simulated clips; without --keypoint-errors keypoints are exact."""
    options.set_up(threads=threads, seed=seed)
    pose_flow = PoseFlow.load(flow)
    simulate = ObservationSimulator(
        list(MocapCache.load(mocap).clips(split=split)),
        pose_flow,
        BodyModel.load(),
        read_lifter(lifter, pose_flow.dim),
        None if keypoint_errors is None else KeypointErrors.load(keypoint_errors),
    )
    varied = split == "train"
    parts = [
        simulate(min(_AT_ONCE, clips - first), frames=frames, fps=fps, seed=(seed, first), varied=varied)
        for first in range(0, clips, _AT_ONCE)
    ]
    RecordedObservations.joined(parts).save(out)


if __name__ == "__main__":
    typer.run(main)
