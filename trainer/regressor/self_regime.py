"""The ``self`` regime of the regressor's training: unlabelled views, their targets, and the temporal loss."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kinestream.latent.dynamics import LatentDynamics
from kinestream.latent.flow import PoseFlow, flow_fingerprint
from kinestream.networks.interface import BodyState, RegressorOutput
from kinestream.trainer.data.batches import step_batches
from kinestream.trainer.data.crops.crop_sample import CropBatch, MixedCrops, Source
from kinestream.trainer.data.photos.unlabelled import PhotoViews, VideoViews, ViewBatch, Views, collate_views
from kinestream.trainer.losses.temporal import temporal_loss
from kinestream.trainer.regressor.self_targets import SelfThresholds, joined, self_targets


@dataclass(frozen=True)
class SelfRegime:
    """What the regime needs."""

    source: Source[Views]  # people without labels, in runs of ``frames`` frames
    share: float  # of the batch
    frames: int  # per sequence, as the source gives them
    dynamics: LatentDynamics | None = None  # for the temporal loss; None leaves it out
    thresholds: SelfThresholds = field(default_factory=SelfThresholds)

    def sequences(self, batch_size: int) -> int:
        """How many sequences a batch of ``batch_size`` crops has, at least one."""
        return max(1, round(self.share * batch_size / self.frames))

    def batches(
        self, batch_size: int, *, first: int, last: int, seed: int, workers: int
    ) -> Iterator[ViewBatch]:
        """Views for steps ``first`` to ``last - 1``."""
        steps = {"first": first, "last": last, "seed": seed, "workers": min(workers, 1)}
        return step_batches(self.source, self.sequences(batch_size), collate=collate_views, **steps)

    def extended(self, batch: CropBatch, views: ViewBatch, average: nn.Module) -> CropBatch:
        """The labelled batch followed by the augmented views with their targets."""
        return joined(batch, self_targets(average, views, self.thresholds))

    def temporal(self, output: RegressorOutput, views: ViewBatch) -> Tensor:
        """The temporal loss of an extended batch's output; 0 without dynamics."""
        if self.dynamics is None:
            return output.points.new_zeros(())
        rows = views.times_s.numel()
        state = BodyState(*[part[-rows:].float() for part in output.state])
        return temporal_loss(
            self.dynamics, state, log_extent=views.augmented.log_extent, times_s=views.times_s
        )


def unlabelled_views(
    paths: list[Path], labels: Path | None, *, crop_px: int, frames: int
) -> MixedCrops[Views]:
    """Views of folders of photos, and of videos with a label file ``<labels>/<name of the video>.npz``."""
    sources: list[tuple[Source[Views], float]] = []
    for path in paths:
        if path.is_dir():
            photos = PhotoViews(path, crop_px=crop_px, frames=frames)
            sources.append((photos, len(photos)))
        elif labels is None:
            raise ValueError(
                f"{path}: a video needs boxes; make them with tools/teacher/pseudo_label.py (--labels)"
            )
        else:
            video = VideoViews(path, labels / f"{path.stem}.npz", crop_px=crop_px, frames=frames)
            sources.append((video, len(video)))
    return MixedCrops(sources)


def matching_dynamics(flow: PoseFlow, device: torch.device) -> LatentDynamics:
    """The shipped dynamics; ``ValueError`` when they were trained with another flow."""
    dynamics = LatentDynamics.load().requires_grad_(False)
    if dynamics.flow_id != flow_fingerprint(flow):
        raise ValueError("the dynamics belong to another flow; train some, or leave out the temporal loss")
    return dynamics.to(device)
