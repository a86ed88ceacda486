"""What may be changed while people are tracked."""

import numpy as np
import pytest

from kinestream.models import Models
from kinestream.pipeline import Tracker
from tests.conftest import paint

STEP_NS = 33_000_000


def walk(tracker: Tracker, frames: range) -> np.ndarray:
    """Pelvis (T, 3) of a block that goes to and fro."""
    places = []
    for i in frames:
        image = paint((320, 240), {0: (100 + 3 * (-1) ** i, 60, 50, 120)})
        places.append(tracker.process(image, i * STEP_NS).persons[0].joints_cam_m[0])
    return np.array(places)


def shake_m(places: np.ndarray) -> float:
    return float(np.abs(np.diff(places, 2, axis=0)).mean())


def test_smoothness_changes_somebody_who_is_followed_and_who_comes_later(block_models: Models) -> None:
    def run(smoothness: float, *, before: bool) -> float:
        with Tracker(models=block_models) as tracker:
            if before:
                tracker.smoothness = smoothness
            walk(tracker, range(15))
            tracker.smoothness = smoothness
            assert tracker.smoothness == smoothness
            return shake_m(walk(tracker, range(15, 60)))

    for before in (True, False):
        assert run(1.0, before=before) < 0.9 * run(-1.0, before=before)


def test_lead_moves_what_is_predicted(block_models: Models) -> None:
    with Tracker(models=block_models) as ahead, Tracker(models=block_models) as now:
        for i in range(20):
            image = paint((320, 240), {0: (60 + 4 * i, 60, 50, 120)})
            if i == 15:
                ahead.lead_ms = 200.0
            poses, leading = (tracker.process(image, i * STEP_NS) for tracker in (now, ahead))
        assert ahead.lead_ms == 200.0
        assert leading.persons[0].joints_cam_m[0, 0] > poses.persons[0].joints_cam_m[0, 0] + 0.02


def test_what_cannot_be_is_told(block_models: Models) -> None:
    with Tracker(models=block_models, filter="none") as tracker:
        assert tracker.smoothness is None
        with pytest.raises(ValueError, match="learned"):
            tracker.smoothness = 0.5
        with pytest.raises(ValueError, match="lead_ms"):
            tracker.lead_ms = 501.0
    with Tracker(models=block_models) as tracker:
        for wrong in (1.1, -1.1, float("nan")):
            with pytest.raises(ValueError, match="smoothness"):
                tracker.smoothness = wrong
