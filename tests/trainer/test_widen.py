import pytest
import torch

from tracker.regress.network import RegressorConfig, RegressorNetwork
from trainer.widen import widened


def random_network(backbone: str) -> RegressorNetwork:
    torch.manual_seed(3)
    network = RegressorNetwork(RegressorConfig(latent_size=8, backbone=backbone, crop_px=64)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.2)
    return network


@torch.no_grad()
def test_the_grown_network_sees_the_same() -> None:
    small = random_network("small")
    medium = widened(small, "medium", pyramid_width=64).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    for before, after in zip(small.look(images)[:3], medium.look(images)[:3], strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_new_channels_can_learn() -> None:
    medium = widened(random_network("small"), "medium")
    heatmaps = medium.look(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))[0]
    heatmaps.square().mean().backward()
    into_old = medium.backbone.stages[3][0].conv.weight.grad
    assert into_old is not None
    assert into_old[:96, 48:].abs().sum() > 0


def test_a_narrower_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="not at least as wide"):
        widened(random_network("medium"), "small")
