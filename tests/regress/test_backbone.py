"""The backbone: folding changes nothing but the form, maps have the sizes they should have."""

import pytest
import torch

from tracker.regress.backbone import BACKBONES, Backbone, ConvBlock, Pyramid, fold, normalised


def _trained(block: torch.nn.Module) -> torch.nn.Module:
    """Random running statistics, as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
    return block.eval()


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 8, 1), (8, 12, 1), (8, 8, 2)])
def test_folded_block_computes_the_same(inputs: int, outputs: int, stride: int) -> None:
    block = _trained(ConvBlock(inputs, outputs, stride=stride))
    x = torch.randn(2, inputs, 12, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(block.folded()(x), block(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_fold_reaches_every_block_and_keeps_the_output() -> None:
    backbone = _trained(Backbone(BACKBONES["tiny"]))
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    expected = backbone(x)
    folded = fold(backbone)
    assert not any(isinstance(m, ConvBlock | torch.nn.BatchNorm2d) for m in folded.modules())
    for a, b in zip(folded(x), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_maps_have_strides_8_16_32(name: str) -> None:
    backbone = Backbone(BACKBONES[name]).eval()
    maps = backbone(torch.zeros(1, 3, 64, 128))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (width, 64 // stride, 128 // stride)
        for width, stride in zip(backbone.channels, (8, 16, 32), strict=True)
    ]
    assert Pyramid(backbone.channels, 24).eval()(maps).shape == (1, 24, 8, 16)


def test_normalised_takes_bytes() -> None:
    values = normalised(torch.tensor([0, 255], dtype=torch.uint8))
    assert values.dtype == torch.float32
    assert values[0] == -values[1]
