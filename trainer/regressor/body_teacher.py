"""Flow and body that make targets from exact bodies, and the loss towards them."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kinestream.body.model import BodyModel
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.losses.body import BodyLoss, BodyTarget

if TYPE_CHECKING:
    from kinestream.trainer.data.crops.crop_sample import CropBatch
    from kinestream.trainer.data.crops.lift_samples import LiftBatch
    from kinestream.trainer.regressor.state_head import ObservedBodies


class BodyTeacher:
    """Targets and loss of body states in the latent space of one flow."""

    def __init__(self, flow: Path | PoseFlow | None = None, device: torch.device | None = None) -> None:
        """Take a flow, read one, or take the shipped one."""
        loaded = flow if isinstance(flow, PoseFlow) else PoseFlow.load(flow)
        self.flow = loaded.eval().requires_grad_(False).to(device)
        self.body = BodyModel.load().to(device)
        self.loss = BodyLoss(self.flow, self.body)

    def targets(
        self, bodies: "CropBatch | LiftBatch | ObservedBodies", rows: Tensor | slice = slice(None)
    ) -> BodyTarget:
        """Targets of some of the bodies."""
        return BodyTarget(
            self.flow,
            self.body,
            rotations=bodies.rotations[rows],
            translation_m=bodies.translation_m[rows],
            betas=bodies.betas[rows],
            log_extent=bodies.log_extent[rows],
        )
