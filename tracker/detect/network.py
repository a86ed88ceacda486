"""The detector network: a letterboxed frame -> a map of person centres with boxes, at one stride.

CenterNet (Zhou et al. 2019) in form; boxes as distances to the four sides (FCOS, Tian et al. 2019), so that a
person cut by the frame's edge needs no special case. The top-down pyramid lets one map serve all sizes.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from tracker.regress.backbone import BACKBONES, Backbone, ConvBlock, Pyramid, normalised

STRIDE: Final = 8
"""Frame pixels per cell of the map."""

_PRIOR_LOGIT: Final = -4.0
_UNIT_PX: Final = 48.0


@dataclass(frozen=True)
class DetectorConfig:
    """What defines a detector; stored with its weights.

    Attributes:
        backbone: a name in ``BACKBONES``.
        frame_px: longer side of the letterboxed frame, a multiple of 32.
        width: channels of the fused feature map.
    """

    backbone: str = "tiny"
    frame_px: int = 320
    width: int = 48

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, found {self.backbone!r}")
        if self.frame_px < 64 or self.frame_px % 32 or self.width < 1:
            raise ValueError(f"frame_px must be a multiple of 32 from 64 on, width positive, found {self}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class DetectorOutput(NamedTuple):
    """Maps over the cells; cell (i, j) has its centre at pixel (8 j + 3.5, 8 i + 3.5)."""

    center_logit: Tensor  # (B, h, w) whether a person's box has its centre here
    boxes_xyxy_px: Tensor  # (B, 4, h, w) in the letterboxed frame, meaningful near centres


class DetectorNetwork(nn.Module):
    """See the module's text."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(BACKBONES[config.backbone])
        self.pyramid = Pyramid(self.backbone.channels, config.width)
        self.tower = ConvBlock(config.width, config.width)
        self.head = nn.Conv2d(config.width, 5, 1)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            if self.head.bias is not None:
                self.head.bias.copy_(torch.tensor([_PRIOR_LOGIT, 0.0, 0.0, 0.0, 0.0]))

    def forward(self, frames: Tensor) -> DetectorOutput:
        """Frames (B, 3, H, W), RGB 0..255, sides multiples of 32."""
        maps = self.head(self.tower(self.pyramid(self.backbone(normalised(frames))))).float()
        reach = _UNIT_PX * torch.exp(maps[:, 1:].clamp(-5.0, 2.5))
        x = cell_centers_px(maps.shape[3], maps.device)[None, None, :]
        y = cell_centers_px(maps.shape[2], maps.device)[None, :, None]
        sides = [x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]]
        return DetectorOutput(maps[:, 0], torch.stack(sides, 1))


def cell_centers_px(count: int, device: torch.device | None = None) -> Tensor:
    """Pixel coordinates of the centres of ``count`` cells along one side."""
    return torch.arange(count, device=device, dtype=torch.float32) * STRIDE + (STRIDE - 1) / 2
