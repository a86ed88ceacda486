"""From evidence to the state of the body: the lifter, and an image branch that corrects it.

Evidence first: the lifter reads the keypoints that the network itself found; the image branch adds what they
do not tell (front or back, which limb is nearer, how stout a person is), from features of the whole crop and
of the places under the keypoints.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.networks.interface import BodyState
from kinestream.regress.lifter import Lifter, split_state, state_sizes

LOCAL_FEATURES = 16
IMAGE_HIDDEN = 256


class Evidence(NamedTuple):
    """What the state of the body is read from."""

    points: Tensor  # (B, 23, 2) crop coordinates
    confidence_logit: Tensor  # (B, 23)
    pooled: Tensor  # (B, P) features of the whole crop
    under: Tensor  # (B, 23, C) features under each keypoint


class StateHead(nn.Module):
    """See the module's text."""

    def __init__(self, latent_size: int, *, pooled: int, under: int) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.lifter = Lifter(latent_size)
        self.local = nn.Linear(under, LOCAL_FEATURES)
        inputs = self.lifter.state.in_features + pooled + NUM_KEYPOINTS * LOCAL_FEATURES
        correction = nn.Linear(IMAGE_HIDDEN, sum(state_sizes(latent_size)))
        self.image_branch = nn.Sequential(nn.Linear(inputs, IMAGE_HIDDEN), nn.ReLU(), correction)
        self.zero_init_image_branch()

    def zero_init_image_branch(self) -> None:
        """Make the image branch add nothing, until it has learned to correct the lifter."""
        for parameter in self.image_branch[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, evidence: Evidence, to_virtual: Tensor, log_extent: Tensor) -> BodyState:
        """The body that the evidence speaks of, in the virtual camera.

        Keypoints are to be true, not convenient: no gradient of the state reaches them.
        """
        points = to_plane(evidence.points.detach(), to_virtual)
        confidence = torch.sigmoid(evidence.confidence_logit.detach())
        hidden, state = self.lifter(points, confidence, log_extent)
        local = torch.relu(self.local(evidence.under)).flatten(1)
        state = state + self.image_branch(torch.cat([hidden, evidence.pooled, local], 1))
        return split_state(state, self.latent_size)


def to_plane(points: Tensor, to_virtual: Tensor) -> Tensor:
    """Crop coordinates (B, K, 2) -> plane of the virtual camera (B, K, 2), in half extents."""
    mapped = points @ to_virtual[:, :, :2].transpose(1, 2) + to_virtual[:, None, :, 2]
    return mapped[..., :2] / mapped[..., 2:].clamp_min(0.05)
