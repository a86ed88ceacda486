"""Run the tracker's whole chain of filters over recorded observations, at many rates.

    python -m kinestream.trainer.prepare.estimate_observations RECORDING.npz --out OUT.npz

Each clip is followed `--passes` times, at random rates from the recording's down to 8 Hz, with random
pictures missed: temporal lifter, measurement update, learned filter and the correction after it, as in the
tracker.
`kinestream.trainer.train_forecaster --estimates` learns from the result how such estimates go on.
"""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from kinestream.body.arrays import read_body
from kinestream.filtering.base import FilterFactory, PersonState
from kinestream.filtering.error_state import std_of
from kinestream.filtering.keypoint_filter import with_keypoints
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.temporal_lifter import LifterWeights
from kinestream.latent.flow_map import FlowMap
from kinestream.trainer import options
from kinestream.trainer.dynamics.batches import SLOWEST_RECORDED_HZ
from kinestream.trainer.dynamics.evidence import seen_frames
from kinestream.trainer.dynamics.recorded_estimates import RecordedEstimates
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

_logger = logging.getLogger(__name__)
MISSED = 0.1
"""Share of the pictures that are missed beside those in which nobody was seen."""


def estimated(
    recorded: RecordedObservations, make: FilterFactory, rng: np.random.Generator, *, passes: int
) -> RecordedEstimates:
    """What filters of ``make`` estimate of each clip in so many passes."""
    longest = max(1.0, recorded.fps / SLOWEST_RECORDED_HZ)
    clips, frames, said = [], [], []
    for clip in range(len(recorded)):
        seen = list(seen_frames(recorded, clip))
        for _ in range(passes):
            stride = round(np.exp(rng.uniform(0, np.log(longest))))
            motion = make()
            at, states = np.full(recorded.frames, -1), []
            for index in range(int(rng.integers(stride)), recorded.frames, stride):
                if seen[index].missing or rng.random() < MISSED:
                    continue
                at[len(states)] = index
                states.append(motion.observe(seen[index].t_ns, seen[index].state, seen[index].evidence))
            if states:
                clips.append(clip)
                frames.append(at)
                said.append(states + states[-1:] * (recorded.frames - len(states)))
        if clip % 20 == 19:
            _logger.info("%d of %d clips", clip + 1, len(recorded))

    def column(name: str) -> np.ndarray:
        return np.array([[getattr(state, name) for state in states] for states in said], np.float32)

    def std(state: PersonState) -> np.ndarray:
        return std_of(state, floor=0.0)

    return RecordedEstimates(
        fps=recorded.fps,
        z=recorded.z,
        root_quat_wxyz=recorded.root_quat_wxyz,
        translation_m=recorded.translation_m,
        clip=np.array(clips),
        frame=np.array(frames),
        estimated_z=column("z"),
        estimated_root_quat_wxyz=column("root_quat_wxyz"),
        estimated_translation_m=column("translation_m"),
        std=np.array([[std(state) for state in states] for states in said], np.float32),
    )


def main(
    recording: Annotated[Path, typer.Argument(help="of record_observations")],
    out: Annotated[Path, typer.Option(help="estimates to write (.npz)")],
    flow: options.Flow = None,
    passes: Annotated[int, typer.Option(help="how often each clip is followed", min=1)] = 4,
    seed: int = 0,
) -> None:
    """Write what the tracker's filters estimate of a recording."""
    options.set_up(threads=1, seed=seed)
    update = KeypointUpdate(read_body(), FlowMap.load(flow))
    make = with_keypoints(LearnedFilter, update, LifterWeights.load())
    found = estimated(RecordedObservations.load(recording), make, np.random.default_rng(seed), passes=passes)
    found.save(out)


if __name__ == "__main__":
    typer.run(main)
