"""Weights and constants that the torch and the numpy form of the latent dynamics share; loads no torch."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from kinestream.defaults import ASSETS
from kinestream.kernels.array_types import Float32Array
from kinestream.networks.weight_files import read_weights

DEFAULT_WEIGHTS: Final = ASSETS / "dynamics.safetensors"
FORMAT: Final = "kinestream.latent_dynamics.v1"
ADVICE: Final = "train some with `python -m kinestream.trainer.train_dynamics`, or choose another filter"

MIN_STEP_S: Final = 0.008
"""Shorter steps count as this long where a correction is turned into a velocity."""
SHORTEST_SEEN_S: Final = 0.004
"""The shortest step of training; the cell is given no shorter one."""
INNOVATION_CLIP: Final = 4.0
"""Innovations are softly limited to this many standard deviations."""
VELOCITY_CLIP: Final = 6.0
"""Velocities are softly limited to this many typical speeds, latents in features to this many deviations."""
SHAPE_CLIP: Final = 1.5
"""How much of the velocity one term of the motion curve may carry on."""
LOG_CLIP: Final = 6.0
"""Limit of the learned log-factors on variances."""


@dataclass(frozen=True)
class DynamicsWeights:
    """The arrays of `LatentDynamics`, float32, and what they were trained for.

    Attributes:
        flow_id: fingerprint of the flow in whose latent space they work.
    """

    arrays: dict[str, Float32Array]
    time_constants_s: Float32Array
    latent: int
    flow_id: str

    @classmethod
    def load(cls, path: str | Path | None = None) -> "DynamicsWeights":
        """Read dynamics; None gives the shipped ones.

        Raises ``FileNotFoundError``, or ``WeightsError`` where the file holds no latent dynamics.
        """
        return _load(Path(path or DEFAULT_WEIGHTS))


@lru_cache(maxsize=4)
def _load(path: Path) -> DynamicsWeights:
    config, arrays, notes = read_weights(path, kind=FORMAT, advice=ADVICE)
    constants = np.array(config["time_constants_s"], np.float32)
    return DynamicsWeights(arrays, constants, int(config["latent"]), notes.get("flow_id", ""))
