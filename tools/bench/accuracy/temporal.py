"""What time tells beyond one picture: the tracker's stages on motion that nobody trained on.

    python -m kinestream.tools.bench.accuracy.temporal --mocap CACHE [--mocap CACHE ...] [--lifter WEIGHTS]
        [--keypoint-errors ERRORS.npz] [--recorded RECORDING ...] [--out JSON]

Clips of the test half of the split "val" (and of "train", for the gap), by source, as
`kinestream.trainer.dynamics.simulated_observations` has them seen by the real lifter at 30 Hz, through
recorded errors and with exact keypoints; and recordings of rendered people (`--recorded`). Stages: the
network's state alone ("single"), after the measurement update ("single, updated"), with the temporal lifter
before it ("temporal, updated"), and the learned filter around everything, without and with it.

MPJPE around the pelvis and PA-MPJPE after a similarity, over 24 joints, in millimetres; the share of frames
whose arms or legs would be nearer with left and right exchanged, and of those who face the other way (root
more than 90 degrees off); the mean speed in the camera's frame of ankles and feet that stand, m/s.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.table import Table

from kinestream.body.arrays import read_body
from kinestream.body.model import BodyModel
from kinestream.body.skeleton import JOINT_NAMES
from kinestream.defaults import DEFAULT_MODEL
from kinestream.filtering.base import FilterFactory, PersonState, PoseFilter
from kinestream.filtering.keypoint_filter import KeypointFilter
from kinestream.filtering.keypoint_update import KeypointUpdate
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.temporal_lifter import LifterWeights, TemporalLifter
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.tools import options
from kinestream.tools.bench.accuracy.lifter import lifter_of
from kinestream.tools.bench.timing import figure, write_report
from kinestream.tracking.poser import BodyPoser
from kinestream.trainer import options as training
from kinestream.trainer.data.crops.keypoint_errors import KeypointErrors
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.dynamics.clips import held_out_halves
from kinestream.trainer.dynamics.evidence import seen_frames, true_state
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.rollout import FEET, STANDING_M_S
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator
from kinestream.trainer.metrics import aligned_error

Floats = npt.NDArray[np.float64]
CLIPS, FRAMES, RATE_HZ = 40, 60, 30.0
BEGUN_S = 0.5
"""Frames from here on count: a track that has just begun has no past."""
LIMBS = [
    (
        [JOINT_NAMES.index(f"left_{name}") for name in limb],
        [JOINT_NAMES.index(f"right_{name}") for name in limb],
    )
    for limb in (("elbow", "wrist"), ("knee", "ankle"))
]


class _AsSeen(PoseFilter):
    """The network's state itself."""

    name = "single"

    def reset(self) -> None:
        """Nothing is remembered but the last state."""

    def update(self, t_ns: int, observed: PersonState) -> PersonState:
        """Take the state as it is."""
        self._state = observed
        return observed

    def predict(self, t_ns: int) -> PersonState:
        """The last state."""
        return self._state


def stages() -> dict[str, FilterFactory]:
    """What is compared, by name."""
    update, weights = KeypointUpdate(read_body(), FlowMap.load()), LifterWeights.load()

    return {
        "single": _AsSeen,
        "single, updated": lambda: KeypointFilter(Unfiltered(), update),
        "temporal, updated": lambda: KeypointFilter(Unfiltered(), update, TemporalLifter(weights)),
        "single, filtered": lambda: KeypointFilter(LearnedFilter(), update),
        "temporal, filtered": lambda: KeypointFilter(LearnedFilter(), update, TemporalLifter(weights)),
    }


def measured(
    recorded: RecordedObservations, make: Callable[[], PoseFilter], poser: BodyPoser
) -> dict[str, float]:
    """Figures of one stage over all clips, seen at `RATE_HZ`."""
    stride = max(1, round(recorded.fps / RATE_HZ))
    found, true, away, moments = [], [], [], []
    for clip in range(len(recorded)):
        motion = make()
        begun = False
        for index, frame in enumerate(seen_frames(recorded, clip)):
            if index % stride:
                continue
            if not frame.missing:
                motion.observe(frame.t_ns, frame.state, frame.evidence)
                begun = True
            if not begun or frame.t_ns < BEGUN_S * 1e9:
                continue
            state = motion.predict(frame.t_ns)
            root = recorded.root_quat_wxyz[clip, index]
            found.append(state)
            true.append(true_state(recorded, clip, index, state))
            away.append(abs(float(np.dot(root, state.root_quat_wxyz))) < np.cos(np.pi / 4))
            moments.append((clip, frame.t_ns / 1e9))
    ours, theirs = (
        np.stack([person.joints_cam_m for person in poser.pose(states)]).astype(np.float64)
        for states in (found, true)
    )
    slide_m_s = slide(np.array(moments), ours[:, FEET], theirs[:, FEET])
    ours, theirs = ours - ours[:, :1], theirs - theirs[:, :1]
    return {
        "mpjpe_mm": 1000 * float(np.linalg.norm(ours - theirs, axis=-1).mean()),
        "pa_mpjpe_mm": 1000 * float(aligned_error(ours, theirs).mean()),
        "exchanged_percent": 100 * float(np.mean([exchanged(ours, theirs, *limb) for limb in LIMBS])),
        "other_way_percent": 100 * float(np.mean(away)),
        "slide_m_s": slide_m_s,
    }


def slide(moments: Floats, ours: Floats, theirs: Floats) -> float:
    """Mean speed (m/s) of feet (T, F, 3) between frames in which the true ones stand, 0 where none does.

    ``moments`` (T, 2) are clip and time in seconds of each frame.
    """
    step = np.diff(moments, axis=0)

    def speed_m_s(feet_m: Floats) -> Floats:
        return np.asarray(np.linalg.norm(np.diff(feet_m, axis=0), axis=-1) / step[:, 1:])

    stands = (step[:, :1] == 0) & (speed_m_s(theirs) < STANDING_M_S)
    return float(speed_m_s(ours)[stands].mean()) if stands.any() else 0.0


def exchanged(ours: Floats, theirs: Floats, left: list[int], right: list[int]) -> float:
    """Share of frames whose joints left and right would lie nearer with sides exchanged."""
    both, swapped = left + right, right + left
    own, other = (
        np.linalg.norm(ours[:, rows] - theirs[:, both], axis=-1).mean(1) for rows in (both, swapped)
    )
    return float((other < own).mean())


def main(
    mocap: Annotated[list[Path], typer.Option(help="Cache of kinestream.trainer.prepare.mocap; repeatable.")],
    lifter: Annotated[
        str, typer.Option(help="medium, large, a regressor or lifter.safetensors.")
    ] = DEFAULT_MODEL,
    keypoint_errors: training.RecordedErrors = None,
    recorded: Annotated[
        list[Path] | None, typer.Option(help="Recording of rendered people; repeatable.")
    ] = None,
    out: options.Report = Path("docs/benchmarks/temporal.json"),
) -> None:
    """Measure every stage on every set, print a table, write the report."""
    torch.set_num_threads(1)
    flow, body = PoseFlow.load(), BodyModel.load()
    poser = BodyPoser(read_body(), FlowMap(flow))
    errors = {"exact": None} | (
        {} if keypoint_errors is None else {"recorded errors": KeypointErrors.load(keypoint_errors)}
    )
    sets: dict[str, RecordedObservations] = {}
    for name, motions in _motions(mocap).items():
        for kind, error in errors.items():
            simulate = ObservationSimulator(motions, flow, body, lifter_of(lifter, flow.dim), error)
            sets[f"{name}, {kind}"] = simulate(CLIPS, frames=FRAMES, fps=RATE_HZ, seed=(777,), varied=False)
    for path in recorded or ():
        sets[path.stem] = RecordedObservations.load(path)
    makers, rows = stages(), {}
    title = "MPJPE / PA-MPJPE, mm; sides exchanged / facing the other way, %; slide, m/s"
    table = Table("set", *makers, title=title)
    for name, recording in sets.items():
        row: dict[str, Any] = {stage: measured(recording, make, poser) for stage, make in makers.items()}
        rows[name] = row
        table.add_row(name, *(" / ".join(map(figure, row[stage].values())) for stage in makers))
    Console().print(table)
    write_report(out, "temporal", {"clips": CLIPS, "frames": FRAMES, "results": rows})


def _motions(caches: list[Path]) -> dict[str, list[MotionClip]]:
    """Test clips by source, and as many of those trained on."""
    found: dict[str, list[MotionClip]] = {}
    for path in caches:
        cache = MocapCache.load(path)
        for clip in held_out_halves(list(cache.clips("val")))[1]:
            found.setdefault(f"held-out {clip.source}", []).append(clip)
        found.setdefault("trained on", []).extend(list(cache.clips("train"))[::4])
    return {name: clips for name, clips in found.items() if clips}


if __name__ == "__main__":
    typer.run(main)
