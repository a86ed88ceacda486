"""The trunk and its pyramid: sizes of the maps, TensorFlow's padding, and a signal that stays alive."""

import pytest
import torch

from kinestream.networks.backbone import (
    BACKBONES,
    PYRAMID_WIDTHS,
    Backbone,
    Conv,
    InvertedBlock,
    Pyramid,
    normalised,
)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_maps_have_their_strides_and_channels(name: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name).eval()
    maps = backbone(torch.zeros(1, 3, 64, 128))
    for value, width, stride in zip(maps, backbone.channels, (4, 8, 16, 16, 32), strict=True):
        assert value.shape == (1, width, 64 // stride, 128 // stride)
    for stride in (4, 8):
        fused = Pyramid(backbone.channels, stride=stride).eval()(maps)
        assert fused.shape == (1, PYRAMID_WIDTHS[-1], 64 // stride, 128 // stride)


@pytest.mark.parametrize(
    ("name", "channels"), [("medium", (24, 32, 64, 96, 1280)), ("large", (40, 56, 112, 168, 1280))]
)
def test_widths_are_those_of_the_published_networks(name: str, channels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert Backbone(name).channels == channels


@torch.no_grad()
def test_a_strided_convolution_pads_below_and_right() -> None:
    conv = Conv(1, 1, 3, stride=2)
    conv.weight.fill_(1.0)
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1.0  # the first cell sees rows 0 to 2
    torch.testing.assert_close(conv(image)[0, 0], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    image[0, 0, 0, 0], image[0, 0, 2, 2] = 0.0, 1.0  # seen by all four cells
    torch.testing.assert_close(conv(image)[0, 0], torch.ones(2, 2))


@torch.no_grad()
def test_a_block_with_an_identity_passes_its_input_on() -> None:
    block = InvertedBlock(8, 8, expansion=6, stride=1)
    block.project.weight.zero_()
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), x)
    assert not InvertedBlock(8, 8, expansion=6, stride=2).identity


@torch.no_grad()
def test_a_fresh_trunk_keeps_the_signal_alive() -> None:
    torch.manual_seed(0)
    backbone = Backbone("tiny").eval()
    images = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    for value in backbone(images):
        assert 0.02 < value.std() < 50
        assert (value[0] - value[1]).abs().mean() > 0.01


def test_normalised_covers_minus_one_to_one() -> None:
    values = normalised(torch.tensor([0, 255], dtype=torch.uint8))
    torch.testing.assert_close(values, torch.tensor([-1.0, 1.0]))
