"""The flow and the clips that these tests share."""

import pytest
import torch

from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.trainer.dynamics.clips import LatentClips
from tests.trainer.dynamics.small_motion import motion


@pytest.fixture(scope="module")
def flow() -> PoseFlow:
    torch.manual_seed(0)
    return PoseFlow(FlowConfig(depth=1, hidden=8)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def clips(flow: PoseFlow) -> LatentClips:
    return LatentClips([motion("a"), motion("b", fps=30.0, seed=1), motion("c", frames=90, seed=2)], flow)
