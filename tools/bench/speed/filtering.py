"""What the filter with its keypoint updates takes of one thread, a person and frame, for `speed.pipeline`.

    OPENBLAS_NUM_THREADS=1 python -m kinestream.tools.bench.speed.filtering

The observations of the embedded clip are recorded, and taken in round after round; prints one line of JSON.
``least`` is of each frame's quickest round: what the code takes, without what else the machine does.
"""

import json
import sys
import time
from typing import Any, Final

import numpy as np

from kinestream.capture import open_source
from kinestream.filtering import FilterFactory, PersonState, PoseFilter
from kinestream.filtering.base import KeypointEvidence
from kinestream.filtering.forecasting import with_forecasts
from kinestream.filtering.keypoint_filter import KeypointFilter, with_keypoints
from kinestream.filtering.keypoint_update import InvertibleDecoder, KeypointUpdate
from kinestream.filtering.learned import LearnedFilter
from kinestream.filtering.unfiltered import Unfiltered
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.tools.metrics.clip import CLIP

ROUNDS: Final = 8
Observation = tuple[int, PersonState, KeypointEvidence]


class Recorder(Unfiltered):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Observation] = []

    def observe(self, t_ns: int, observed: PersonState, evidence: KeypointEvidence) -> PersonState:
        """Keep it."""
        self.seen.append((t_ns, observed, evidence))
        return self.update(t_ns, observed)


def measure() -> dict[str, Any]:
    """Milliseconds a frame: learned filter, updates around it, temporal lifter before, forecaster after."""
    models = Models.load()
    assert isinstance(models.decoder, InvertibleDecoder)
    recorder = Recorder()
    tracker = Tracker(models=models, filter=lambda: recorder, keypoint_update=False)
    with open_source(CLIP) as source:
        for frame in source:
            tracker.process(frame.image_rgb, frame.t_capture_ns)
    update = KeypointUpdate(models.body, models.decoder)

    def learned() -> LearnedFilter:
        return LearnedFilter(models.dynamics)

    assert models.forecaster is not None
    lifted = with_keypoints(learned, update, models.temporal_lifter)
    makers: dict[str, FilterFactory] = {
        "learned_filter_ms": learned,
        "with_keypoint_updates_ms": lambda: KeypointFilter(learned(), update),
        "with_temporal_lifter_ms": lifted,
        "with_forecaster_ms": with_forecasts(lifted, models.forecaster),
    }
    times: dict[str, list[list[float]]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, new in makers.items():
            times[name].append(_round(new(), recorder.seen))
    named = {name: np.array(rounds) for name, rounds in times.items()}
    figures = {name: {"all": _spread(ms), "least": _spread(ms.min(0))} for name, ms in named.items()}
    return {"frames": len(recorder.seen), "rounds": ROUNDS, **figures}


def _round(motion: PoseFilter, seen: list[Observation]) -> list[float]:
    """Milliseconds of each observation."""
    times_ms = []
    for t_ns, observed, evidence in seen:
        before_s = time.perf_counter()
        motion.observe(t_ns, observed, evidence)
        times_ms.append(1000 * (time.perf_counter() - before_s))
    return times_ms


def _spread(times_ms: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    shares = {f"p{share}": float(np.percentile(times_ms, share)) for share in (5, 50, 95)}
    return {name: round(value, 3) for name, value in (shares | {"mean": float(times_ms.mean())}).items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure()) + "\n")
