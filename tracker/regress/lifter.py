"""The lifter: keypoints with confidences -> state of the body, as the virtual camera on the crop sees it.

It sees no pixel, so that it can be trained on motion capture alone, under random cameras, with the errors a
keypoint detector makes. Its input and output live in the *virtual camera* of
:mod:`kinestream.regress.preprocessing`, which looks at the centre of the crop: there the same body gives
the same numbers wherever in the picture it stands, and perspective is exact.
"""

import torch
from torch import Tensor, nn

from kinestream.body.skeleton import NUM_BETAS, NUM_KEYPOINTS
from kinestream.networks.interface import BodyState

HIDDEN = 512
LOG_STD_RANGE = (-5.0, 2.0)


def state_sizes(latent_size: int) -> tuple[int, ...]:
    """Lengths of the fields of :class:`BodyState`, in order."""
    means = (latent_size, 6, 3, NUM_BETAS)
    return (*means, latent_size, 1, 3, NUM_BETAS)


def split_state(flat: Tensor, latent_size: int) -> BodyState:
    """Cut a head's output (B, sum of sizes) into fields; log deviations are limited softly."""
    fields = list(torch.split(flat, list(state_sizes(latent_size)), dim=1))
    low, high = LOG_STD_RANGE
    middle, half = (low + high) / 2, (high - low) / 2
    fields[4:] = [middle + half * torch.tanh((value - middle) / half) for value in fields[4:]]
    return BodyState(*fields)


class ResidualLayer(nn.Module):
    """Two linear layers beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        y: Tensor = self.second(torch.relu(self.first(self.norm(x))))
        return x + y


class Lifter(nn.Module):
    """Keypoints in the virtual camera -> hidden features and a first state."""

    def __init__(self, latent_size: int, *, hidden: int = HIDDEN, depth: int = 3) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.embed = nn.Linear(3 * NUM_KEYPOINTS + 1, hidden)
        self.layers = nn.Sequential(*[ResidualLayer(hidden) for _ in range(depth)], nn.LayerNorm(hidden))
        self.state = nn.Linear(hidden, sum(state_sizes(latent_size)))

    def forward(self, points: Tensor, confidence: Tensor, log_extent: Tensor) -> tuple[Tensor, Tensor]:
        """Evidence -> hidden features (B, H) and the flat state (see :func:`split_state`).

        Args:
            points: (B, 23, 2) in units of the crop's half extent, virtual camera.
            confidence: (B, 23) 0..1; a keypoint of confidence 0 has no influence.
            log_extent: (B,) logarithm of the half extent: how wide an angle the crop spans.

        """
        weighted = (points.clamp(-3.0, 3.0) * confidence[..., None]).flatten(1)
        hidden = self.layers(self.embed(torch.cat([weighted, confidence, log_extent[:, None]], 1)))
        return hidden, self.state(hidden)
