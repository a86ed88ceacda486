"""Bring recorded observations to what the learned filter sees in the tracker.

    python -m kinestream.trainer.prepare.update_observations RECORDING.npz --out OUT.npz

Each observation is corrected by the temporal lifter and moved by the measurement update, with the deviations
that these leave: the filter has to be trained behind both.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from kinestream.body.arrays import read_body
from kinestream.filtering.error_state import std_of
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.filtering.temporal_lifter import LifterWeights, TemporalLifter
from kinestream.latent.flow_map import FlowMap
from kinestream.trainer import options
from kinestream.trainer.dynamics.evidence import seen_frames
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

_logger = logging.getLogger(__name__)


def updated(
    recorded: RecordedObservations, update: KeypointUpdate, lifter: TemporalLifter | None
) -> RecordedObservations:
    """The same clips as the filter sees them."""
    fields = ("seen_z", "seen_root_quat_wxyz", "seen_translation_m", "std", "seen_betas", "betas_std")
    found = {name: getattr(recorded, name).copy() for name in fields}
    for clip in range(len(recorded)):
        if lifter is not None:
            lifter.reset()
        tangents = None
        for frame, (t_ns, missing, state, evidence) in enumerate(seen_frames(recorded, clip)):
            if missing:
                continue
            corrected = state if lifter is None else lifter.correct(t_ns, state, evidence)
            result = update(corrected, evidence, tangents=tangents)
            tangents, state = result.tangents, result.state
            values = (
                state.z, state.root_quat_wxyz, state.translation_m, std_of(state, floor=0.0), state.betas,
                state.betas_std,
            )  # fmt: skip
            for name, value in zip(fields, values, strict=True):
                found[name][clip, frame] = value
        if clip % 100 == 99:
            _logger.info("%d of %d clips", clip + 1, len(recorded))
    return replace(recorded, **{name: value.astype(np.float32) for name, value in found.items()})


def main(
    recording: Annotated[Path, typer.Argument(help="of record_observations or simulate_observations")],
    out: Annotated[Path, typer.Option(help="recording to write (.npz)")],
    flow: options.Flow = None,
    temporal_lifter: Annotated[Path | None, typer.Option(help="weights; by default the shipped ones")] = None,
) -> None:
    """Write a recording after the temporal lifter and the measurement update."""
    options.set_up(threads=1, seed=0)
    lifter = TemporalLifter(LifterWeights.load(temporal_lifter))
    update = KeypointUpdate(read_body(), FlowMap.load(flow))
    updated(RecordedObservations.load(recording), update, lifter).save(out)


if __name__ == "__main__":
    typer.run(main)
