"""Convert an official SMPL, SMPL-H or SMPL-X pickle to npz, once and safely.

    python -m kinestream.tools.convert_smpl basicModel_neutral_lbs_10_207_0_v1.1.0.pkl

The official files are Python-2 pickles with chumpy arrays and sparse matrices. They are read by
:mod:`kinestream.trainer.data.annotated.restricted_unpickler`, which runs nothing; neither chumpy nor scipy
is needed. The model licence applies to the converted file as it does to the original.
"""

import logging
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from kinestream.body.npz import BodyFileError
from kinestream.body.smplx_adapter import SMPL_KEYS, load_smpl_family
from kinestream.tools.overwriting import refuse_overwriting
from kinestream.trainer.data.annotated.pickled_arrays import as_array
from kinestream.trainer.data.annotated.restricted_unpickler import (
    MAX_PICKLE_BYTES,
    PickleRefusedError,
    read_pickle,
)

_LOG = logging.getLogger(__name__)

KEPT_KEYS: Final = (
    *SMPL_KEYS,
    *("posedirs", "J", "vert_sym_idxs", "J_regressor_prior", "weights_prior"),
    *(f"hands_{part}{side}" for part in ("components", "coeffs", "mean") for side in "lr"),
    *("lmk_faces_idx", "lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"),
)
"""What is carried over: all that this package or ``smplx`` reads."""


def convert(source: Path, target: Path) -> list[str]:
    """Convert the pickle ``source`` to the npz file ``target`` and check that the result is usable.

    Of :data:`KEPT_KEYS`, the arrays of numbers are kept under their names. ``target`` appears, or is
    replaced, only when it is complete.

    Returns:
        The names of the arrays written.

    Raises ``FileNotFoundError``: ``source`` is no file; ``PickleRefusedError``: ``source`` is damaged, too
    large or asks for something that no model needs; ``BodyFileError``: the arrays are not those of a SMPL,
    SMPL-H or SMPL-X model.
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
        refuse_overwriting({"TARGET": target}, [source])
        names = convert(source, target)
    except (OSError, ValueError, PickleRefusedError, BodyFileError) as fault:
        Console(stderr=True).print(f"[bold red]Not converted.[/] {escape(str(fault))}", soft_wrap=True)
        raise typer.Exit(1) from fault
    console.print(f"Wrote {escape(str(target))} with {len(names)} arrays: {', '.join(names)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
