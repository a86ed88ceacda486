"""Arrays of numbers out of decoded pickles (see `restricted_unpickler`)."""

import math
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kinestream.trainer.data.annotated.restricted_unpickler import (
    CHUMPY,
    DTYPE,
    FROM_BUFFER,
    RECONSTRUCT,
    SPARSE,
    Built,
    PickleRefusedError,
)

Array = npt.NDArray[Any]

_NUMBER: Final = re.compile(r"[|<>=]?[fiub][1248]")
_MAX_NESTING: Final = 8
_MAX_DENSE: Final = 2**26


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
