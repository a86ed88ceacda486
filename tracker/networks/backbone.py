"""The networks' backbone: MobileNetV2 (Sandler et al. 2018) and a light top-down pyramid (Lin et al. 2017).

Layer for layer that of MoveNet (Google, Apache-2.0), so that its published weights can be where training
starts (``kinestream.trainer.weights.import_movenet``, docs/decisions.md). Those come with their batch norms
folded in, so there are none here: what is trained is what runs. Strided convolutions pad below and to the
right only.
"""

from itertools import pairwise
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn

from kinestream.networks.interface import BACKBONES

_STAGES: Final = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, channels, blocks and stride of MobileNetV2's stages."""
_TAPS: Final = (1, 2, 3, 4)
"""Stages whose outputs are read: the last ones of strides 4 and 8, and both of stride 16."""
POOLED: Final = 1280
"""Channels of the deepest map."""
PYRAMID_WIDTHS: Final = (64, 32, 24, 24)
"""Channels of the fused map at strides 32, 16, 8 and 4."""
HEAD_WIDTH: Final = 96
"""Channels inside the heads that read it."""


def _channels(base: int, width: float) -> int:
    """The nearest multiple of eight, but not more than a tenth below."""
    rounded = max(8, int(base * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * base * width else rounded


class Conv(nn.Conv2d):
    """Convolution with TensorFlow's ``same`` padding: with stride 2 one row below and one column right."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)
        nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        if self.stride[0] == 2:
            x = nn.functional.pad(x, (0, 1, 0, 1))
        return super().forward(x)


class InvertedBlock(nn.Module):
    """Expand, depthwise convolution, project; with an identity where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Conv(inputs, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = Conv(hidden, hidden, 3, stride=stride, groups=hidden)
        self.project = Conv(hidden, outputs)
        self.grows, self.identity = expansion > 1, inputs == outputs and stride == 1
        if self.identity:
            with torch.no_grad():
                self.project.weight.mul_(0.3)  # a deep stack of fresh blocks starts near the identity

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = nn.functional.relu6(self.expand(x)) if self.grows else x
        y = cast(Tensor, self.project(nn.functional.relu6(self.depthwise(y))))
        return x + y if self.identity else y


class Features(NamedTuple):
    """Maps of a backbone."""

    fine: Tensor  # (B, c, H/4, W/4)
    middle: Tensor  # (B, c, H/8, W/8)
    coarse: Tensor  # (B, c, H/16, W/16)
    context: Tensor  # (B, c, H/16, W/16), seen through three blocks more
    deepest: Tensor  # (B, 1280, H/32, W/32)


class Backbone(nn.Module):
    """RGB values 0..255 (B, 3, H, W), sides multiples of 32 -> :class:`Features`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        width = BACKBONES[name]
        channels = _channels(32, width)
        self.stem = Conv(3, channels, 3, stride=2)
        stages, taps = [], []
        for stage, (expansion, base, count, stride) in enumerate(_STAGES):
            outputs, blocks = _channels(base, width), []
            for row in range(count):
                blocks.append(
                    InvertedBlock(channels, outputs, expansion=expansion, stride=1 if row else stride)
                )
                channels = outputs
            stages.append(nn.Sequential(*blocks))
            if stage in _TAPS:
                taps.append(channels)
        self.stages = nn.ModuleList(stages)
        self.last = Conv(channels, POOLED)
        self.channels = (*taps, POOLED)

    def forward(self, images: Tensor) -> Features:
        """See the class."""
        x = nn.functional.relu6(self.stem(normalised(images)))
        taps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _TAPS:
                taps.append(x)
        fine, middle, coarse, context = taps
        return Features(fine, middle, coarse, context, nn.functional.relu6(self.last(x)))


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3x3, pointwise, ReLU."""
    return nn.Sequential(Conv(inputs, inputs, 3, groups=inputs, bias=False), Conv(inputs, outputs), nn.ReLU())


def separable_head(inputs: int, outputs: int) -> nn.Sequential:
    """What reads maps from fused features: a separable convolution, then a pointwise one."""
    return nn.Sequential(separable(inputs, HEAD_WIDTH), Conv(HEAD_WIDTH, outputs))


class Pyramid(nn.Module):
    """Top-down fusion of a backbone's maps into one at stride 4 or 8 with 24 channels."""

    def __init__(self, channels: tuple[int, ...], *, stride: int = 4) -> None:
        super().__init__()
        fine, middle, coarse, _, deepest = channels
        sides = (coarse, middle, fine)[: {4: 3, 8: 2}[stride]]
        self.top = Conv(deepest, PYRAMID_WIDTHS[0])
        self.lateral = nn.ModuleList([Conv(c, w) for c, w in zip(sides, PYRAMID_WIDTHS, strict=False)])
        steps = pairwise(PYRAMID_WIDTHS[: len(sides) + 1])
        self.merge = nn.ModuleList([separable(a, b) for a, b in steps])

    def forward(self, maps: Features) -> Tensor:
        """Maps -> (B, 24, H / stride, W / stride)."""
        x: Tensor = self.top(maps.deepest)
        sides = (maps.coarse, maps.middle, maps.fine)
        for lateral, merge, side in zip(self.lateral, self.merge, sides, strict=False):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = merge(x + lateral(side))
        return x


def normalised(images: Tensor) -> Tensor:
    """RGB values 0..255 of any dtype -> float32 from -1 to 1, as the published weights expect them."""
    return images.float() * (2.0 / 255.0) - 1.0
