"""Weights and constants that the torch and the numpy form of the forecaster share; loads no torch."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from kinestream.defaults import ASSETS
from kinestream.kernels.array_types import Float32Array
from kinestream.networks.weight_files import read_weights

DEFAULT_WEIGHTS: Final = ASSETS / "forecaster.safetensors"
FORMAT: Final = "kinestream.motion_forecaster.v1"
ADVICE: Final = "train some with `python -m kinestream.trainer.train_forecaster`"

STEADY_S: Final = 0.1
"""Time over which the steady speed is averaged."""


@dataclass(frozen=True)
class ForecasterWeights:
    """The arrays of `MotionForecaster`, float32, and what they were trained for.

    Attributes:
        flow_id: fingerprint of the flow in whose latent space they work.
    """

    arrays: dict[str, Float32Array]
    time_constants_s: Float32Array
    latent: int
    flow_id: str

    @classmethod
    def load(cls, path: str | Path | None = None) -> "ForecasterWeights":
        """Read a forecaster; None gives the shipped one.

        Raises ``FileNotFoundError``, or ``WeightsError`` where the file holds no forecaster.
        """
        return _load(Path(path or DEFAULT_WEIGHTS))


@lru_cache(maxsize=4)
def _load(path: Path) -> ForecasterWeights:
    config, arrays, notes = read_weights(path, kind=FORMAT, advice=ADVICE)
    constants = np.array(config["time_constants_s"], np.float32)
    return ForecasterWeights(arrays, constants, int(config["latent"]), notes.get("flow_id", ""))
