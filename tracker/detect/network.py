"""The detector network: a letterboxed frame -> a map of person centres with boxes, at one stride.

CenterNet (Zhou et al. 2019) in form; boxes as distances to the four sides (FCOS, Tian et al. 2019), so that a
person cut by the frame's edge needs no special case. The top-down pyramid lets one map serve all sizes.
"""

from typing import Final, cast

import torch
from torch import Tensor, nn

from kinestream.networks.backbone import PYRAMID_WIDTHS, Backbone, Pyramid, separable_head
from kinestream.networks.interface import DetectorConfig, DetectorOutput

STRIDE: Final = 4
"""Frame pixels per cell of the map."""

_PRIOR_LOGIT: Final = -4.0
_UNIT_PX: Final = 48.0


class DetectorNetwork(nn.Module):
    """See the module's text."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.pyramid = Pyramid(self.backbone.channels, stride=STRIDE)
        self.center = _head(1, start=_PRIOR_LOGIT)
        self.box = _head(4, start=0.0)

    def forward(self, frames: Tensor) -> DetectorOutput:
        """Frames (B, 3, H, W), RGB 0..255, sides multiples of 32."""
        features = self.pyramid(self.backbone(frames))
        center, box = self.center(features).float(), self.box(features).float()
        reach = _UNIT_PX * torch.exp(box.clamp(-5.0, 2.5))
        x = cell_centers_px(box.shape[3], box.device)[None, None, :]
        y = cell_centers_px(box.shape[2], box.device)[None, :, None]
        sides = [x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]]
        return DetectorOutput(center[:, 0], torch.stack(sides, 1))


def _head(outputs: int, *, start: float) -> nn.Sequential:
    """A head that answers ``start`` everywhere until it is trained."""
    head = separable_head(PYRAMID_WIDTHS[-1], outputs)
    last = cast(nn.Conv2d, head[1])
    nn.init.zeros_(last.weight)
    last.bias = nn.Parameter(torch.full((outputs,), start))
    return head


def cell_centers_px(count: int, device: torch.device | None = None) -> Tensor:
    """Pixel coordinates of the centres of ``count`` cells along one side."""
    return torch.arange(count, device=device, dtype=torch.float32) * STRIDE + (STRIDE - 1) / 2
