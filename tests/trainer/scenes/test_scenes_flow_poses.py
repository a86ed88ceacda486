"""Poses drawn from the flow."""

import numpy as np
import pytest

from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.trainer.scenes.poses import ClipPoses, FlowPoses


def test_samples_are_rotations_with_roots_of_the_clips(poses: ClipPoses) -> None:
    source = FlowPoses(PoseFlow(FlowConfig()), poses)
    first, again = (source.pose(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (24, 3, 3)
    np.testing.assert_allclose(first @ first.transpose(0, 2, 1), np.tile(np.eye(3), (24, 1, 1)), atol=1e-5)
    np.testing.assert_array_equal(first[22:], np.tile(np.eye(3), (2, 1, 1)))
    np.testing.assert_allclose(first[0], np.eye(3), atol=1e-6)  # the clip's person stands upright


def test_temperature_widens_the_poses(poses: ClipPoses) -> None:
    flow = PoseFlow(FlowConfig())
    spread = []
    for temperature in (0.5, 1.5):
        source, rng = FlowPoses(flow, poses, temperature=temperature), np.random.default_rng(0)
        sampled = np.stack([source.pose(rng)[1:22] for _ in range(100)])
        spread.append(sampled.std(0).mean())
    assert spread[1] > 1.3 * spread[0]
    with pytest.raises(ValueError, match="temperature must be positive"):
        FlowPoses(flow, poses, temperature=0.0)
