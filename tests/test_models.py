"""Models that do not belong together are refused."""

from dataclasses import replace

import pytest

from kinestream.filtering.learned import LearnedFilter
from kinestream.latent.dynamics_weights import DynamicsWeights
from kinestream.latent.forecast_weights import ForecasterWeights
from kinestream.models import Models
from kinestream.pipeline import Tracker


def test_dynamics_of_another_flow_are_refused(block_models: Models) -> None:
    flow_id, dynamics = block_models.decoder.flow_id, DynamicsWeights.load()
    with pytest.raises(ValueError, match=f"belong to flow {dynamics.flow_id}, .* by flow {flow_id}"):
        replace(block_models, dynamics=dynamics)
    with pytest.raises(ValueError, match=f"belongs to flow {dynamics.flow_id}.*forecaster=None"):
        replace(block_models, forecaster=ForecasterWeights.load())
    with pytest.raises(ValueError, match=f"belong to flow {dynamics.flow_id}"):
        Tracker(models=block_models, filter=LearnedFilter)
    bare = replace(block_models, dynamics=None)
    with pytest.raises(ValueError, match=r"these models have no dynamics; give Models\(dynamics=...\)"):
        Tracker(models=bare)
    assert Tracker(models=bare, filter="kalman").stats()["filter"] == "kalman"
