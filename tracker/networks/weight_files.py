"""Weight files: safetensors with configuration and notes in the header; no pickle, and no torch to read them.

Matrices and kernels are stored in half precision, everything else in float32. A packed file
(:func:`pack_weights`) holds large matrices as int8 with one half-precision scale a row, under ``NAME`` and
``NAME.scale``; that costs nothing measurable (docs/decisions.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kinestream.kernels.array_types import AnyArray

if TYPE_CHECKING:  # who reads arrays alone has no use for torch, which takes seconds to load
    from torch import nn

C = TypeVar("C")

INT8_SIZE: Final = 16384
"""A packed file holds matrices of at least so many numbers as int8."""
_SCALE: Final = ".scale"


class WeightsError(ValueError):
    """A weight file that cannot be used; the message says why and what to do."""


class WeightFile(NamedTuple):
    """What a weight file holds: the network's configuration, arrays (float32 or integers) and notes."""

    config: dict[str, Any]
    arrays: dict[str, AnyArray]
    notes: dict[str, str]


def _is_matrix(name: str, value: AnyArray) -> bool:
    return value.ndim >= 2


def save_weights(
    path: str | Path,
    network: nn.Module,
    *,
    kind: str,
    config: Mapping[str, Any],
    notes: Mapping[str, str] | None = None,
    halved: Callable[[str, AnyArray], bool] = _is_matrix,
) -> None:
    """Write ``network`` (its state dict) with what is needed to build it again.

    Args:
        path: file to write; its folder is made when needed.
        network: weights to store.
        kind: what the file is for, for instance ``kinestream.regressor.v1``; checked when it is read.
        config: plain values, for JSON.
        notes: free text fields (data, commands, metrics).
        halved: which arrays, by name and value, are stored in half precision.
    """
    arrays = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    stored = {name: _stored(value, half=halved(name, value)) for name, value in arrays.items()}
    write_arrays(path, stored, {"format": kind, "config": json.dumps(dict(config)), **(notes or {})})


def pack_weights(source: str | Path, out: str | Path) -> None:
    """Write the weights of ``source`` again at half the size; raises as :func:`read_weights`."""
    metadata, arrays = _read(Path(source), "")
    packed: dict[str, AnyArray] = {}
    for name, value in arrays.items():
        if value.dtype.kind == "f" and value.ndim >= 2 and value.size >= INT8_SIZE:
            packed[name], packed[name + _SCALE] = _as_int8(value)
        else:
            packed[name] = _stored(value, half=value.ndim >= 2) if value.dtype.kind == "f" else value
    write_arrays(out, packed, metadata)


def read_weights(
    path: str | Path,
    *,
    kind: str,
    advice: str = "reinstall, or train them (docs/training.md)",
    packed: bool = False,
) -> WeightFile:
    """Configuration, float32 arrays and notes of a weight file; ``advice`` is for a missing one.

    With ``packed``, matrices that the file holds as int8 stay so, with ``NAME.scale`` (rows,) beside them.

    Raises:
        FileNotFoundError: there is no such file.
        WeightsError: it is not a weight file of this kind.

    """
    header = read_header(path, kind=kind, advice=advice)
    stored = _read(Path(path), advice)[1]
    return header._replace(arrays=_in_float32(stored) if packed else _restored(stored))


def read_arrays(
    path: str | Path, *, advice: str = "reinstall, or train them (docs/training.md)"
) -> dict[str, AnyArray]:
    """The arrays alone, of a file of any kind; raises as :func:`read_weights`."""
    return _restored(_read(Path(path), advice)[1])


def read_header(
    path: str | Path, *, kind: str, advice: str = "reinstall, or train them (docs/training.md)"
) -> WeightFile:
    """The same without arrays, which takes no time; raises as :func:`read_weights`."""
    metadata, _ = _read(Path(path), advice, arrays=False)
    if (found := metadata.pop("format", None)) != kind:
        raise WeightsError(f"{path}: expected format {kind}, found {found}")
    try:
        return WeightFile(json.loads(metadata.pop("config")), {}, metadata)
    except (KeyError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: not a readable weight file ({error}); get a fresh copy") from error


def configured(kind: Callable[..., C], values: Mapping[str, Any], *, path: str | Path) -> C:
    """A weight file's configuration as an object; :class:`WeightsError` where this version has none such."""
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the weights are for another version's network ({error})") from error


def fill(network: nn.Module, arrays: Mapping[str, AnyArray], *, path: str | Path) -> None:
    """Load ``arrays`` into ``network``; :class:`WeightsError` when names or shapes differ."""
    import torch

    try:
        network.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    except RuntimeError as error:
        raise WeightsError(f"{path}: the weights do not fit this version's network: {error}") from error


def _read(path: Path, advice: str, *, arrays: bool = True) -> tuple[dict[str, str], dict[str, AnyArray]]:
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}; {advice}")
    try:
        with safe_open(str(path), framework="numpy") as file:
            return file.metadata() or {}, {
                name: file.get_tensor(name) for name in (file.keys() if arrays else ())
            }
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable weight file ({error}); get a fresh copy") from error


def write_arrays(path: str | Path, arrays: dict[str, AnyArray], metadata: dict[str, str]) -> None:
    """Write arrays as they are, with ``format``, ``config`` and notes in ``metadata``."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, str(path), metadata=metadata)
    Path(path).chmod(0o644)  # safetensors writes files that only their owner may read


def _stored(value: AnyArray, *, half: bool) -> AnyArray:
    dtype = (np.float16 if half else np.float32) if value.dtype.kind == "f" else value.dtype
    return np.ascontiguousarray(value, dtype)


def _as_int8(matrix: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Integers -127..127 of the matrix's shape, and scales (rows,), rounded up so that nothing is cut."""
    rows = matrix.reshape(len(matrix), -1).astype(np.float32)
    exact = np.abs(rows).max(1) / np.float32(127)
    scale = exact.astype(np.float16)
    scale = np.where(scale.astype(np.float32) < exact, np.nextafter(scale, np.float16(np.inf)), scale)
    scale = np.maximum(scale, np.finfo(np.float16).tiny)
    whole = np.round(rows / scale.astype(np.float32)[:, None]).astype(np.int8)
    return whole.reshape(matrix.shape), scale


def _restored(arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    restored: dict[str, AnyArray] = {}
    for name, value in arrays.items():
        if name.endswith(_SCALE) and arrays.get(name.removesuffix(_SCALE), value).dtype == np.int8:
            continue
        if value.dtype == np.int8 and name + _SCALE in arrays:
            scale = arrays[name + _SCALE].astype(np.float32)
            value = value.astype(np.float32) * scale.reshape(-1, *[1] * (value.ndim - 1))
        restored[name] = value
    return _in_float32(restored)


def _in_float32(arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    return {
        name: value.astype(np.float32) if value.dtype.kind == "f" else value for name, value in arrays.items()
    }
