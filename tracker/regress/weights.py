"""Weight files: safetensors with the network's configuration and notes in the header; no pickle.

Matrices and kernels are stored in half precision, everything else in float32.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

C = TypeVar("C")


class WeightsError(ValueError):
    """A weight file that cannot be used; the message says why and what to do."""


def save_weights(
    path: str | Path,
    network: nn.Module,
    *,
    kind: str,
    config: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write ``network`` (its state dict) with what is needed to build it again.

    Args:
        path: file to write; its folder is made when needed.
        network: weights to store.
        kind: what the file is for, for instance ``kinestream.regressor.v1``; checked when it is read.
        config: plain values, for JSON.
        notes: free text fields (data, commands, metrics).

    """
    tensors = {name: _stored(value).contiguous() for name, value in network.state_dict().items()}
    metadata = {"format": kind, "config": json.dumps(dict(config)), **(notes or {})}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata=metadata)
    Path(path).chmod(0o644)  # safetensors writes files that only their owner may read


def read_weights(path: str | Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and float32 tensors of a weight file.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is not a weight file of this kind.

    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}; reinstall, or train them (docs/training.md)")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise WeightsError(f"{path}: expected format {kind}, found {metadata.get('format')}")
            config = json.loads(metadata["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: not a readable weight file ({error}); get a fresh copy") from error
    return config, {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}


def configured(kind: Callable[..., C], values: Mapping[str, Any], *, path: str | Path) -> C:
    """A weight file's configuration as an object; :class:`WeightsError` where this version has none such."""
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the weights are for another version's network ({error})") from error


def fill(network: nn.Module, tensors: Mapping[str, Tensor], *, path: str | Path) -> None:
    """Load ``tensors`` into ``network``; :class:`WeightsError` when names or shapes differ."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise WeightsError(f"{path}: the weights do not fit this version's network: {error}") from error


def _stored(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() and value.ndim >= 2 else value.clone()
