"""The bench of the temporal lifter: its counts, and that it walks through every stage."""

import numpy as np
import pytest
import torch

from kinestream.body.arrays import read_body
from kinestream.body.model import BodyModel
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.latent.flow import PoseFlow
from kinestream.latent.flow_map import FlowMap
from kinestream.regress.lifter import Lifter
from kinestream.tools.bench.accuracy.temporal import LIMBS, exchanged, measured, slide, stages
from kinestream.tracking.poser import BodyPoser
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.dynamics.simulated_observations import ObservationSimulator


def test_exchanged_sides_are_counted() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(10, 24, 3))
    for left, right in LIMBS:
        seen = true + 0.01 * rng.normal(size=true.shape)
        assert exchanged(seen, true, left, right) == 0
        swapped = seen.copy()
        swapped[:4, left], swapped[:4, right] = seen[:4, right], seen[:4, left]
        assert exchanged(swapped, true, left, right) == pytest.approx(0.4)


def test_only_standing_feet_slide_and_none_between_clips() -> None:
    moments = np.array([[clip, frame / 30] for clip in (0, 1) for frame in range(5)])
    true = np.zeros((10, 2, 3))
    true[:, 1, 0] = moments[:, 1]  # the second foot walks at 1 m/s
    seen = true + 7.0 * moments[:, :1, None]
    seen[:, 0, 2] += 0.3 * moments[:, 1]
    assert slide(moments, seen, true) == pytest.approx(0.3)


def test_every_stage_is_measured() -> None:
    torch.manual_seed(0)
    flow = PoseFlow.load()
    times = np.arange(90)[:, None, None] / 60
    swing = 0.3 * np.random.default_rng(0).normal(size=(22, 3)) * np.sin(3 * times)
    motion = MotionClip("a", matrix_from_axis_angle(swing), np.zeros((90, 3)) + [0, 0.9, 0], 60.0)
    simulate = ObservationSimulator([motion], flow, BodyModel.load(), Lifter(flow.dim), None)
    clips = simulate(1, frames=22, fps=30.0, seed=(1,), varied=False)
    clips.seen_z[:] = clips.z  # a network that is right: stages after it must not lose much
    clips.seen_root_quat_wxyz[:] = clips.root_quat_wxyz
    clips.seen_translation_m[:] = clips.translation_m
    clips.seen_betas[:] = clips.betas[:, None]
    clips.std[:] = 0.1
    found = {
        name: measured(clips, make, BodyPoser(read_body(), FlowMap(flow))) for name, make in stages().items()
    }
    assert set(found) == {
        "single", "single, updated", "temporal, updated", "single, filtered", "temporal, filtered",
    }  # fmt: skip
    assert found["single"]["mpjpe_mm"] < 0.01
    assert found["single"]["other_way_percent"] == found["single"]["exchanged_percent"] == 0
    assert 0 < found["single, updated"]["mpjpe_mm"] < 30
    assert found["temporal, updated"]["mpjpe_mm"] != found["single, updated"]["mpjpe_mm"]
