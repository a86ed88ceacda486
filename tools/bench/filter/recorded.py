"""Recorded observations as scenes of the filter benchmark: real observations of motion that is known."""

from typing import Final

import numpy as np
import numpy.typing as npt

from kinestream.latent.decode import FlowDecoder
from kinestream.tools.bench.filter.runs import Scene, joints_of, person_state
from kinestream.trainer.dynamics.clips import Trajectory
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations

RECORDED: Final = "recorded, 30 Hz"
RATES_HZ: Final = (15.0, 30.0, 60.0)


def recorded_conditions(recorded: RecordedObservations, decoder: FlowDecoder) -> dict[str, list[Scene]]:
    """Scenes by the condition's name, for each rate that the recording can be thinned to."""
    found = {}
    whole = recorded_scenes(recorded, decoder)
    for rate in RATES_HZ:
        every = round(recorded.fps / rate)
        if abs(every * rate - recorded.fps) < 1e-6 * recorded.fps:
            found[f"recorded, {rate:.0f} Hz"] = [scene.thinned(every) for scene in whole]
    if RECORDED not in found:
        raise ValueError(f"expected a recording at a multiple of 30 fps, found {recorded.fps}")
    return found


def recorded_scenes(recorded: RecordedObservations, decoder: FlowDecoder) -> list[Scene]:
    """Every clip of a recording; truth between frames is that of the nearest frame."""
    times_s = np.arange(recorded.frames) / recorded.fps
    return [_scene(recorded, clip, times_s, decoder) for clip in range(len(recorded))]


def _scene(
    recorded: RecordedObservations, clip: int, times_s: npt.NDArray[np.float64], decoder: FlowDecoder
) -> Scene:
    z, root, place = recorded.z[clip], recorded.root_quat_wxyz[clip], recorded.translation_m[clip]
    truth = Trajectory(z, np.empty((len(z), 0), np.float32), root, place)

    def view(at_s: npt.NDArray[np.float64]) -> Trajectory:
        frame = np.clip(np.round(at_s * recorded.fps).astype(int), 0, len(z) - 1)
        return Trajectory(*(part[frame] for part in vars(truth).values()))

    seen = (recorded.seen_z, recorded.seen_root_quat_wxyz, recorded.seen_translation_m, recorded.std)
    observed = [
        None if k and recorded.missing[clip, k] else person_state(*(part[clip, k] for part in seen))
        for k in range(recorded.frames)
    ]
    return Scene(times_s, truth, joints_of(decoder, truth), observed, view)
