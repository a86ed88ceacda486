"""The bench of the whole tracker's forecasts: shares, and what is held."""

import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.flow import PoseFlow
from kinestream.models import Models
from kinestream.regress.lifter import Lifter
from kinestream.tools.bench.accuracy.forecast import HELD, errors_mm, shares
from kinestream.tracking.poser import BodyPoser
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator


def test_shares_are_those_of_all_pictures_and_vary_with_the_clips() -> None:
    rows = [np.tile([1.0, 2, 4, 5, 10], (3, 1)), np.tile([3.0, 4, 4, 5, 10], (1, 1))]
    found = shares(rows)
    assert found["mpjpe_mm"] == 1.5
    assert [held["share"] for held in found["held"].values()] == pytest.approx([0.6, 0.375, 0.3, 0.15])
    assert list(found["held"]) == list(HELD)
    assert all(held["share_std"] > 0.01 for held in found["held"].values())
    assert shares([rows[0]] * 4)["held"]["the estimate"]["share_std"] < 1e-12, "clips that are alike"


def exactly_seen(swing_rad: float) -> RecordedObservations:
    """Somebody whose joints swing, of whom everything is seen exactly."""
    torch.manual_seed(0)
    flow = PoseFlow.load()
    times = np.arange(120)[:, None, None] / 60
    swing = swing_rad * np.random.default_rng(0).normal(size=(22, 3)) * np.sin(2 * times)
    motion = MotionClip("a", matrix_from_axis_angle(swing), np.zeros((120, 3)) + [0, 0.9, 0], 60.0)
    simulate = ObservationSimulator([motion], flow, BodyModel.load(), Lifter(flow.dim), None)
    clips = simulate(1, frames=45, fps=30.0, seed=(1,), varied=False)
    clips.seen_z[:] = clips.z
    clips.seen_root_quat_wxyz[:] = clips.root_quat_wxyz
    clips.seen_translation_m[:] = clips.translation_m
    clips.seen_betas[:] = clips.betas[:, None]
    clips.std[:] = 0.1
    return clips


def test_what_is_held_is_off_by_the_motion() -> None:
    models = Models.load(engine="torch")
    poser = BodyPoser(models.body, models.decoder)
    (still,) = errors_mm(exactly_seen(0.0), models, poser)[0.3]
    assert still.shape == (7, 1 + len(HELD)), "every third picture from 0.5 to 1.2 s"
    assert still[:, -1].max() < 1, "the network is right, and nothing moves"
    (soon,), (late,) = errors_mm(exactly_seen(0.4), models, poser).values()
    assert 5 < soon[:, -1].mean() < 0.6 * late[:, -1].mean()
