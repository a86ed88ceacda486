"""Outputs never overwrite inputs, nor each other: the one check, for every command."""

import os
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from kinestream.capture.picture_files import is_pattern


def refuse_overwriting(outputs: Mapping[str, Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise ``ValueError`` where an output is an input, a picture of one, or another output.

    Links are followed, hard ones as well. ``-`` and None are no files.

    Args:
        outputs: path of each, by the option that a person would change.
        inputs: files, folders of pictures, printf patterns; what is no path, such as an address, is left out.
    """
    wanted = {name: path for name, path in outputs.items() if path is not None and str(path) != "-"}
    given = [Path(path).expanduser() for path in inputs if path is not None and str(path) != "-"]
    taken: dict[Path, str] = {}
    for name, output in wanted.items():
        place = output.expanduser()
        for one in given:
            if _same(place, one) or (place.exists() and any(_same(place, file) for file in _pictures(one))):
                raise ValueError(f"{name} {output}: would overwrite the input {one}; choose another name")
        resolved = place.resolve()
        if resolved in taken:
            raise ValueError(f"{name} {output}: is written by {taken[resolved]} already; choose another name")
        taken[resolved] = name


def _same(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve() or os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return False


def _pictures(source: Path) -> Iterable[Path]:
    """What lies in a folder of pictures, or where a printf pattern looks."""
    folders = (source, source.parent) if is_pattern(source) else (source,)
    return chain.from_iterable(folder.iterdir() for folder in folders if folder.is_dir())
