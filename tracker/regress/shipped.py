"""The regressors that ship, by name. Loads no network, so that an option can be checked at once."""

from pathlib import Path
from typing import Final

from kinestream.defaults import ASSETS, DEFAULT_MODEL

MODELS: Final = {
    "medium": ASSETS / "regressor.safetensors",
    "large": ASSETS / "regressor_large.safetensors",
}
"""Shipped weights by name."""
DEFAULT_WEIGHTS: Final = MODELS[DEFAULT_MODEL]


def weights_of(model: str | Path | None) -> Path:
    """The weight file of a name in ``MODELS``, of a path, or of None, which means ``DEFAULT_MODEL``.

    Raises ``ValueError`` for what is neither a name nor looks like a file.
    """
    if model is None:
        return DEFAULT_WEIGHTS
    if str(model) in MODELS:
        return MODELS[str(model)]
    if not Path(model).suffix:
        raise ValueError(
            f"model {str(model)!r}: expected {', '.join(MODELS)} or a file of weights (.safetensors)"
        )
    return Path(model)
