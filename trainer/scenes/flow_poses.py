"""Poses drawn from the pose flow: more varied than any set of clips, and as plausible as the prior."""

import numpy as np
import numpy.typing as npt

from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import PoseFlow
from kinestream.trainer.scenes.poses import PoseSource, with_hands


class FlowPoses:
    """Samples of a flow; the root, on which the flow is silent, is that of a pose of another source."""

    def __init__(self, flow: PoseFlow, roots: PoseSource, *, temperature: float = 1.1) -> None:
        """Take a flow, a source of root rotations, and the factor on the latents' standard deviation.

        Raises ValueError for a temperature that is not positive.
        """
        if not temperature > 0:
            raise ValueError(f"temperature must be positive; found {temperature}")
        self._decoder, self._roots, self._temperature = FlowDecoder(flow), roots, temperature

    def pose(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Rotations (24, 3, 3) of a sample; [0] is world (y up) from pelvis."""
        latent = self._temperature * rng.standard_normal(self._decoder.dim)
        body = self._decoder.decode(latent.astype(np.float32)).astype(np.float64)
        return with_hands(np.concatenate([self._roots.pose(rng)[:1], body]))
