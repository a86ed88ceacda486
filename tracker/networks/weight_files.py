"""Weight files: safetensors with the network's configuration and notes in the header; no pickle.

Matrices and kernels are stored in half precision, everything else in float32. A packed file
(:func:`pack_weights`) holds large matrices as int8 with one half-precision scale a row, under ``NAME`` and
``NAME.scale``; that costs nothing measurable (docs/decisions.md).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

C = TypeVar("C")

INT8_SIZE: Final = 16384
"""A packed file holds matrices of at least so many numbers as int8."""
_SCALE: Final = ".scale"


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
    _write(path, tensors, {"format": kind, "config": json.dumps(dict(config)), **(notes or {})})


def pack_weights(source: str | Path, out: str | Path) -> None:
    """Write the weights of ``source`` again at half the size; raises as :func:`read_weights`."""
    metadata, tensors = _read(Path(source))
    packed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.is_floating_point() and value.ndim >= 2 and value.numel() >= INT8_SIZE:
            packed[name], packed[name + _SCALE] = _as_int8(value)
        else:
            packed[name] = _stored(value).contiguous()
    _write(out, packed, metadata)


def read_weights(path: str | Path, *, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and float32 tensors of a weight file.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is not a weight file of this kind.

    """
    path = Path(path)
    metadata, tensors = _read(path)
    if metadata.get("format") != kind:
        raise WeightsError(f"{path}: expected format {kind}, found {metadata.get('format')}")
    try:
        config = json.loads(metadata["config"])
    except (KeyError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: not a readable weight file ({error}); get a fresh copy") from error
    return config, _restored(tensors)


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


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}; reinstall, or train them (docs/training.md)")
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable weight file ({error}); get a fresh copy") from error


def _write(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata=metadata)
    Path(path).chmod(0o644)  # safetensors writes files that only their owner may read


def _stored(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() and value.ndim >= 2 else value.clone()


def _as_int8(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Integers -127..127 of the matrix's shape, and scales (rows,), rounded up so that nothing is cut."""
    rows = matrix.detach().flatten(1)
    exact = rows.abs().amax(1) / 127
    scale = exact.half()
    scale = torch.where(scale.float() < exact, scale.nextafter(scale.new_tensor(torch.inf)), scale)
    scale = scale.clamp(min=torch.finfo(torch.half).tiny)
    whole = (rows / scale.float()[:, None]).round().to(torch.int8)
    return whole.reshape(matrix.shape).contiguous(), scale.contiguous()


def _restored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    restored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(_SCALE) and tensors.get(name.removesuffix(_SCALE), value).dtype == torch.int8:
            continue
        if value.dtype == torch.int8 and name + _SCALE in tensors:
            scale = tensors[name + _SCALE].float()
            value = value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
        restored[name] = value.float() if value.is_floating_point() else value
    return restored
