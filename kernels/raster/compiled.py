"""How the CPU loops of the rasteriser are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from kinestream.kernels import caching

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """Compile loops over arrays with numba, once, into the cache; the function must not allocate.

    It runs without numba's reference counts (`_nrt`), which cost more than the loops of a rasteriser, and
    without the lock of the interpreter.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "_nrt": False,
        "forceinline": True,
    }
    return cast(_Function, caching.compiled(**options)(function))
