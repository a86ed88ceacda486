"""Parameter groups: what starts trained learns slowly, or not at all, and nothing is left out."""

import pytest
import torch

from kinestream.networks.interface import RegressorConfig
from kinestream.regress.network import RegressorNetwork
from kinestream.trainer.regressor.rate_groups import rate_groups


@pytest.fixture
def network() -> RegressorNetwork:
    torch.manual_seed(0)
    return RegressorNetwork(RegressorConfig(latent_size=4, backbone="tiny", crop_px=64))


def parameters(groups: list[dict[str, object]]) -> list[int]:
    return [id(p) for group in groups for p in group["params"]]  # type: ignore[attr-defined]


def test_every_parameter_is_in_one_group(network: RegressorNetwork) -> None:
    groups = rate_groups(network, (network.backbone, network.pyramid), started_rate=0.2)
    assert sorted(parameters(groups)) == sorted(id(p) for p in network.parameters())
    assert groups[0]["rate_share"] == 0.2
    assert {id(p) for p in network.backbone.parameters()} < {id(p) for p in groups[0]["params"]}  # type: ignore[attr-defined]


def test_frozen_stages_keep_their_weights(network: RegressorNetwork) -> None:
    groups = rate_groups(network, (network.backbone,), started_rate=0.2, frozen_stages=2)
    frozen = [*network.backbone.stem.parameters(), *network.backbone.stages[1].parameters()]
    assert not {id(p) for p in frozen} & set(parameters(groups))
    assert not any(p.requires_grad for p in frozen)
    assert all(p.requires_grad for p in network.backbone.stages[2].parameters())


def test_at_rate_zero_all_that_started_is_frozen(network: RegressorNetwork) -> None:
    groups = rate_groups(network, (network.backbone, network.pyramid), started_rate=0.0)
    assert len(groups) == 1
    assert not any(p.requires_grad for p in network.backbone.parameters())
    torch.optim.AdamW(groups, lr=1e-3)
