"""Convert an official SMPL, SMPL-H or SMPL-X pickle to npz, once and safely.

    python -m tools.convert_smpl basicModel_neutral_lbs_10_207_0_v1.1.0.pkl

The official files are Python-2 pickles with chumpy arrays and sparse matrices. They are read by
:mod:`tools.restricted_unpickler`, which runs nothing; neither chumpy nor scipy is needed. The model
licence applies to the converted file as it does to the original.
"""

import logging
import math
import re
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from tools.restricted_unpickler import (
    CHUMPY,
    DTYPE,
    FROM_BUFFER,
    MAX_PICKLE_BYTES,
    RECONSTRUCT,
    SPARSE,
    Built,
    PickleRefusedError,
    read_pickle,
)
from tracker.body.npz import BodyFileError
from tracker.body.smplx_adapter import SMPL_KEYS, load_smpl_family

_LOG = logging.getLogger(__name__)

Array = npt.NDArray[Any]

KEPT_KEYS: Final = (
    *SMPL_KEYS,
    *("posedirs", "J", "vert_sym_idxs", "J_regressor_prior", "weights_prior"),
    *(
        "hands_componentsl",
        "hands_componentsr",
        "hands_coeffsl",
        "hands_coeffsr",
        "hands_meanl",
        "hands_meanr",
    ),
    *("lmk_faces_idx", "lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"),
)
"""What is carried over: all that this package or ``smplx`` reads."""

_NUMBER: Final = re.compile(r"[|<>=]?[fiub][1248]")
_MAX_NESTING: Final = 8
_MAX_DENSE: Final = 2**26


def convert(source: Path, target: Path) -> list[str]:
    """Convert the pickle ``source`` to the npz file ``target`` and check that the result is usable.

    Of :data:`KEPT_KEYS`, the arrays of numbers are kept under their names. ``target`` appears, or is
    replaced, only when it is complete.

    Returns:
        The names of the arrays written.

    Raises:
        FileNotFoundError: ``source`` is no file.
        PickleRefusedError: ``source`` is damaged, too large or asks for something that no model needs.
        BodyFileError: the arrays are not those of a SMPL, SMPL-H or SMPL-X model.

    """
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file; give the .pkl of the official download")
    if source.stat().st_size > MAX_PICKLE_BYTES:
        raise PickleRefusedError(f"{source} has more than the {MAX_PICKLE_BYTES} bytes that are read")
    entries = read_pickle(source.read_bytes())
    if not isinstance(entries, dict):
        raise PickleRefusedError(f"{source} holds a {type(entries).__name__}, not the dict of a body model")
    arrays: dict[str, Any] = {}
    for key in KEPT_KEYS:
        if key in entries:
            try:
                arrays[key] = as_array(entries[key])
            except PickleRefusedError as fault:
                if key in (*SMPL_KEYS, "posedirs"):
                    raise PickleRefusedError(f"{source}, entry '{key}': {fault}") from fault
                _LOG.warning("%s: left out '%s': %s", source, key, fault)
    draft = target.with_name(target.name + ".part.npz")
    try:
        np.savez_compressed(draft, **arrays)
        load_smpl_family(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return sorted(arrays)


def as_array(value: Any) -> Array:
    """Return the array of numbers that the record ``value`` stands for.

    Known are numpy arrays, chumpy's Ch (a constant), Select and Reshape of it, and scipy's csc_matrix
    (made dense). Raises :class:`PickleRefusedError` for anything else.
    """
    try:
        return _as_array(value, _MAX_NESTING)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as fault:
        if isinstance(fault, PickleRefusedError):
            raise
        raise PickleRefusedError(f"a damaged array ({fault})") from fault


def _as_array(value: Any, nesting: int) -> Array:
    if nesting == 0:
        raise PickleRefusedError(f"arrays nested more than {_MAX_NESTING} deep")
    if not isinstance(value, Built):
        raise PickleRefusedError(f"a {type(value).__name__} where an array was expected")
    key, state = value.kind.key, value.state
    if key in RECONSTRUCT:
        _, shape, dtype, fortran_order, content = state
        return _numpy_array(content, dtype, shape, fortran_order)
    if key in FROM_BUFFER:
        content, dtype, shape, order = value.arguments
        return _numpy_array(content, dtype, shape, order == "F")
    if key in SPARSE:
        return _dense(state, nesting)
    if key in CHUMPY:
        if value.kind.name == "Ch":
            return _as_array(state["x"], nesting - 1)
        if value.kind.name == "Select":
            chosen = _as_array(state["a"], nesting - 1).ravel()[_as_array(state["idxs"], nesting - 1)]
            return chosen.reshape(_shape(state.get("preferred_shape", chosen.shape)))
        if value.kind.name == "Reshape":
            return _as_array(state["a"], nesting - 1).reshape(_shape(state["newshape"]))
    raise PickleRefusedError(f"{value.kind} where an array was expected")


def _numpy_array(content: Any, dtype: Any, shape: Any, fortran_order: Any) -> Array:
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(content, (bytes, bytearray)):
        raise PickleRefusedError("an array of Python objects")
    numbers = np.frombuffer(bytes(content), _number_type(dtype))
    return numbers.reshape(_shape(shape), order="F" if fortran_order else "C")


def _number_type(value: Any) -> np.dtype[Any]:
    if not isinstance(value, Built) or value.kind.key not in DTYPE:
        raise PickleRefusedError("an array without a dtype")
    code = str(value.arguments[0])
    if not _NUMBER.fullmatch(code):
        raise PickleRefusedError(f"an array of dtype {code[:20]!r}, not of numbers")
    order = str(value.state[1]) if value.state else "="
    dtype: np.dtype[Any] = np.dtype(code).newbyteorder(">" if order == ">" else "<")
    return dtype


def _shape(value: Any) -> tuple[int, ...]:
    extents = value if isinstance(value, (tuple, list)) else (value,)
    if not all(type(extent) is int and -1 <= extent for extent in extents):
        raise ValueError("a shape that is not made of integers")
    return tuple(extents)


def _dense(state: dict[str, Any], nesting: int) -> Array:
    """Rebuild a matrix from its compressed sparse columns."""
    rows, columns = _shape(state.get("_shape", state.get("shape")))
    data, indices, starts = (_as_array(state[k], nesting - 1) for k in ("data", "indices", "indptr"))
    if min(rows, columns) < 0 or math.prod((rows, columns)) > _MAX_DENSE:
        raise PickleRefusedError(f"a sparse matrix of {rows} x {columns}")
    per_column = np.diff(starts)
    if len(starts) != columns + 1 or per_column.min(initial=0) < 0 or per_column.sum() != len(data):
        raise ValueError("a sparse matrix with column starts that do not fit")
    if indices.min(initial=0) < 0 or indices.max(initial=-1) >= rows:
        raise ValueError("a sparse matrix with rows out of range")
    dense = np.zeros((rows, columns), data.dtype)
    np.add.at(dense, (indices, np.repeat(np.arange(columns), per_column)), data)
    return dense


def main(
    source: Annotated[Path, typer.Argument(help="The official .pkl file.")],
    target: Annotated[
        Path | None, typer.Argument(help="The .npz file to write; next to it if left out.")
    ] = None,
) -> None:
    """Convert an official SMPL, SMPL-H or SMPL-X pickle to npz without running anything in it."""
    console = Console()
    target = source.with_suffix(".npz") if target is None else target
    try:
        names = convert(source, target)
    except (OSError, PickleRefusedError, BodyFileError) as fault:
        Console(stderr=True).print(f"[bold red]Not converted.[/] {fault}", soft_wrap=True)
        raise typer.Exit(1) from fault
    console.print(f"Wrote {target} with {len(names)} arrays: {', '.join(names)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
