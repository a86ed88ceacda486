"""Reading arrays from npz files that nobody vouches for: no pickles, no surprises, clear errors.

``numpy.load`` trusts the header of a member and allocates whatever it asks for. Here the header is
checked against the bytes the archive holds before anything is allocated, members that are not asked
for are never opened, and each fault becomes a :class:`BodyFileError` that says what to do.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from kinestream.kernels.array_types import AnyArray

MAX_ARRAY_BYTES: Final = 256 * 2**20
"""The largest array read: twice the pose correctives of SMPL-X in float64."""

_PLAIN_KINDS: Final = "biufUS"
_READ_FAULTS: Final = (
    ValueError, OSError, EOFError, RuntimeError, OverflowError, MemoryError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip
_DAMAGED: Final = "The file is damaged: fetch or build it again."


class BodyFileError(ValueError):
    """A body file that cannot be used; the message names the file, the key, the fault and the way out."""

    def __init__(
        self, path: str | Path, *, found: str, expected: str, advice: str, key: str | None = None
    ) -> None:
        self.path = Path(path)
        self.key = key
        where = f"{path}" if key is None else f"{path}, array '{key}'"
        super().__init__(f"{where}: found {found}, expected {expected}. {advice}")


def npz_keys(path: Path) -> frozenset[str]:
    """Return the names of the arrays in the npz file ``path``; raise :class:`BodyFileError`."""
    with _open_archive(path) as archive:
        return _keys(archive)


def read_npz(path: Path, *, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, AnyArray]:
    """Read the named arrays of the npz file ``path``, and no others.

    Numbers and fixed-width strings of any shape are read; object arrays (pickles) are refused.

    Raises:
        BodyFileError: the file is missing, no npz, truncated or damaged, lacks a required array, or
            one of the arrays is a pickle, larger than :data:`MAX_ARRAY_BYTES` or not what its header says.

    """
    with _open_archive(path) as archive:
        keys = _keys(archive)
        wanted = list(required)
        missing = [key for key in wanted if key not in keys]
        if missing:
            raise BodyFileError(
                path,
                key=missing[0],
                found=f"only the arrays {', '.join(sorted(keys)) or '(none)'}",
                expected=f"also {', '.join(missing)}",
                advice="Is it a body model? tracker/body/arrays.py lists what one holds.",
            )
        wanted += [key for key in optional if key in keys]
        return {key: _read_member(path, archive, key) for key in wanted}


def refuse_pickle(path: Path) -> None:
    """Raise :class:`BodyFileError` where ``path`` is named like a pickle."""
    if path.suffix.lower() in (".pkl", ".pickle"):
        advice = f"Convert it once: python -m kinestream.tools.convert_smpl {path}"
        found = "a pickle, which could run code when loaded"
        raise BodyFileError(path, found=found, expected="an npz file", advice=advice)


def _open_archive(path: Path) -> zipfile.ZipFile:
    fail = partial(BodyFileError, path, expected="an npz file")
    if not path.is_file():
        advice = "Check the path, or leave it out to use the embedded body."
        raise fail(found="a folder" if path.is_dir() else "no such file", advice=advice)
    try:
        return zipfile.ZipFile(path)
    except _READ_FAULTS as fault:
        advice = "It may be truncated: fetch or build it again. Pickled models (.pkl) become npz files with "
        advice += "`python -m kinestream.tools.convert_smpl`."
        raise fail(found=f"no readable zip archive ({fault})", advice=advice) from fault


def _keys(archive: zipfile.ZipFile) -> frozenset[str]:
    return frozenset(name[:-4] for name in archive.namelist() if name.endswith(".npy"))


def _read_member(path: Path, archive: zipfile.ZipFile, key: str) -> AnyArray:
    fail = partial(BodyFileError, path, key=key)
    try:
        info = archive.getinfo(f"{key}.npy")
        with archive.open(info) as stream:
            shape, fortran_order, dtype = _read_header(stream)
            if dtype.kind not in _PLAIN_KINDS:
                advice = "Pickled objects are never loaded; convert the model it came from with "
                advice += "`python -m kinestream.tools.convert_smpl`."
                raise fail(found=f"dtype {dtype}", expected="plain numbers", advice=advice)
            size = math.prod(shape) * dtype.itemsize
            if size > MAX_ARRAY_BYTES or min(shape, default=0) < 0:
                raise fail(
                    found=f"shape {shape} of {dtype} ({size / 2**20:.0f} MiB)",
                    expected=f"at most {MAX_ARRAY_BYTES // 2**20} MiB",
                    advice="No body model needs that much: the file is damaged or not a body.",
                )
            content = stream.read(size + 1)
    except _READ_FAULTS as fault:
        if isinstance(fault, BodyFileError):
            raise
        found = f"unreadable data ({fault})"
        raise fail(found=found, expected="an array in npy format", advice=_DAMAGED) from fault
    if len(content) != size:
        found = f"{'fewer' if len(content) < size else 'more'} bytes than its header announces"
        raise fail(found=found, expected=f"{size} bytes for shape {shape} of {dtype}", advice=_DAMAGED)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream)
    raise ValueError(f"npy format version {version} is not supported")
