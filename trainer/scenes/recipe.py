"""How a process makes its own generator: paths and knobs, small enough to be sent to a worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tracker.latent.flow import PoseFlow
from trainer.scenes.flow_poses import FlowPoses
from trainer.scenes.generator import SceneGenerator
from trainer.scenes.knobs import SceneKnobs
from trainer.scenes.poses import ClipPoses, MixedPoses
from trainer.scenes.sample import Sample
from trainer.scenes.stage import SceneAssets


@dataclass(frozen=True)
class SceneRecipe:
    """A generator of scenes, not yet made.

    data: folder with characters/ and backgrounds/; mocap: cache file of poses; split: of the poses;
    photos: whether photos may be backgrounds, or free panoramas alone; flow_share: share of the poses that
    are samples of the embedded pose flow.
    """

    data: Path
    mocap: Path
    split: str = "train"
    photos: bool = True
    flow_share: float = 0.0
    knobs: SceneKnobs = field(default_factory=SceneKnobs)

    def generator(self) -> SceneGenerator:
        """Load everything; raises AssetError or FileNotFoundError naming what is missing."""
        assets = SceneAssets.load(self.data, photos=self.photos)
        clips = ClipPoses.load(self.mocap, split=self.split)
        if self.flow_share == 0:
            return SceneGenerator(assets, clips, self.knobs)
        samples = FlowPoses(PoseFlow.load(), clips)
        mixed = MixedPoses([(1 - self.flow_share, clips), (self.flow_share, samples)])
        return SceneGenerator(assets, mixed, self.knobs)

    def __call__(self) -> Callable[[int], Sample]:
        """The function from seed to crop."""
        return self.generator().crop
