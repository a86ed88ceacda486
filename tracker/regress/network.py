"""The regressor network: person crop -> keypoints, parts and the state of the body, with uncertainties.

One graph of standard operations: backbone, pyramid, dense heads, and the state head that reads them.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from kinestream.networks.backbone import BACKBONES, POOLED, PYRAMID_WIDTHS, Backbone, Pyramid
from kinestream.regress.heads import ConfidenceHead, DenseHead, read_keypoints
from kinestream.regress.lifter import BodyState
from kinestream.regress.state_head import Evidence, StateHead


@dataclass(frozen=True)
class RegressorConfig:
    """What defines a network; stored with its weights.

    Attributes:
        latent_size: of the pose flow the network was trained with.
        backbone: a name in ``BACKBONES``.
        crop_px: side of the input crop, a multiple of 32.
        crop_margin: side of the crop over the longer side of the person's box.
    """

    latent_size: int
    backbone: str = "medium"
    crop_px: int = 192
    crop_margin: float = 1.25

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, found {self.backbone!r}")
        if self.crop_px < 64 or self.crop_px % 32:
            raise ValueError(f"crop_px must be a multiple of 32 and at least 64, found {self.crop_px}")
        if self.latent_size < 1 or self.crop_margin < 1:
            raise ValueError(f"latent_size must be positive and crop_margin at least 1, found {self}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


class RegressorOutput(NamedTuple):
    """What the network returns; points are crop coordinates, -1..1 from edge to edge."""

    heatmaps: Tensor  # (B, 23, S/4, S/4) logits
    parts: Tensor  # (B, 16, S/4, S/4) logits, 0 = background
    points: Tensor  # (B, 23, 2)
    confidence_logit: Tensor  # (B, 23)
    presence_logit: Tensor  # (B,)
    state: BodyState


class RegressorNetwork(nn.Module):
    """See the module's text and :meth:`forward`."""

    def __init__(self, config: RegressorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone)
        self.pyramid = Pyramid(self.backbone.channels)
        self.dense = DenseHead(PYRAMID_WIDTHS[-1])
        self.confidence_head = ConfidenceHead(POOLED)
        self.head = StateHead(config.latent_size, pooled=POOLED, under=self.backbone.channels[3])
        self.register_load_state_dict_pre_hook(_with_present_names)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor, to_virtual: Tensor, log_extent: Tensor) -> RegressorOutput:
        """Infer keypoints, parts and state from crops.

        Args:
            images: (B, 3, S, S) RGB, 0..255.
            to_virtual: (B, 3, 3) from homogeneous crop coordinates to the plane of the virtual camera.
            log_extent: (B,) logarithm of the crop's half extent.

        """
        heatmaps, parts, presence_logit, evidence = self.encode(images)
        state = self.head(evidence, to_virtual, log_extent)
        return RegressorOutput(
            heatmaps, parts, evidence.points, evidence.confidence_logit, presence_logit, state
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Evidence]:
        """Heat maps, part logits, presence logits, and the evidence from which the state is read."""
        maps = self.backbone(images)
        heatmaps, parts = self.dense(self.pyramid(maps))
        reading = read_keypoints(heatmaps)
        pooled = maps.deepest.mean((2, 3))
        confidence_logit, presence_logit = self.confidence_head(reading, pooled)
        under = _under_keypoints(heatmaps, maps.context)
        return heatmaps, parts, presence_logit, Evidence(reading.points, confidence_logit, pooled, under)


def _with_present_names(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: Any) -> None:
    """Weights of version 0.1 name the confidence head ``trust``."""
    for name in [name for name in state if name.startswith(f"{prefix}trust.")]:
        state[name.replace("trust.", "confidence_head.", 1)] = state.pop(name)


def _under_keypoints(heatmaps: Tensor, features: Tensor) -> Tensor:
    """Features (B, 23, C) at stride 16 averaged under each heat map at stride 4."""
    share = nn.functional.avg_pool2d(heatmaps, 4).flatten(2).softmax(-1)  # (B, 23, h w)
    return share @ features.flatten(2).transpose(1, 2)
