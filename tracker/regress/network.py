"""The regressor network: person crop -> keypoints, parts and the state of the body, with uncertainties.

One graph of standard operations: backbone, pyramid, dense heads, and the state head that reads them.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from kinestream.networks.backbone import POOLED, PYRAMID_WIDTHS, Backbone, Pyramid
from kinestream.networks.interface import Inference, RegressorConfig, RegressorOutput
from kinestream.regress.heads import ConfidenceHead, DenseHead, read_keypoints
from kinestream.regress.state_head import Evidence, StateHead


class Encoding(NamedTuple):
    """What a network reads of crops before the state."""

    heatmaps: Tensor  # (B, 23, S/4, S/4) logits
    features: Tensor  # (B, C, S/4, S/4) fused
    covariance: Tensor  # (B, 23, 3) of the heat maps: xx, xy, yy in crop coordinates
    presence_logit: Tensor  # (B,)
    evidence: Evidence  # what the state is read of


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
        seen = self.encode(images)
        return RegressorOutput(
            seen.heatmaps,
            self.dense.parts(seen.features),
            seen.evidence.points,
            seen.evidence.confidence_logit,
            seen.covariance,
            seen.presence_logit,
            self.head(seen.evidence, to_virtual, log_extent),
        )

    def encode(self, images: Tensor) -> Encoding:
        """All that is read of crops (B, 3, S, S) before the state."""
        maps = self.backbone(images)
        features = self.pyramid(maps)
        heatmaps = self.dense.keypoints(features)
        reading = read_keypoints(heatmaps)
        pooled = maps.deepest.mean((2, 3))
        confidence_logit, presence_logit = self.confidence_head(reading, pooled)
        under = _under_keypoints(heatmaps, maps.context)
        evidence = Evidence(reading.points, confidence_logit, pooled, under)
        return Encoding(heatmaps, features, reading.covariance, presence_logit, evidence)


class InferenceNetwork(nn.Module):
    """A regressor without what only training reads: no parts, and heat maps stay inside."""

    def __init__(self, network: RegressorNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, to_virtual: Tensor, log_extent: Tensor) -> Inference:
        """As `RegressorNetwork.forward`."""
        seen = self.network.encode(images)
        state = self.network.head(seen.evidence, to_virtual, log_extent)
        return Inference(*seen.evidence[:2], seen.covariance, seen.presence_logit, state)


def _with_present_names(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: Any) -> None:
    """Weights of version 0.1 name the confidence head ``trust``."""
    for name in [name for name in state if name.startswith(f"{prefix}trust.")]:
        state[name.replace("trust.", "confidence_head.", 1)] = state.pop(name)


def _under_keypoints(heatmaps: Tensor, features: Tensor) -> Tensor:
    """Features (B, 23, C) at stride 16 averaged under each heat map at stride 4."""
    share = nn.functional.avg_pool2d(heatmaps, 4).flatten(2).softmax(-1)  # (B, 23, h w)
    return share @ features.flatten(2).transpose(1, 2)
