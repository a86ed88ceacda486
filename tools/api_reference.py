"""Build the API reference with pdoc (extra ``docs``): a page for every module of ``tracker`` and ``kernels``.

    python -m kinestream.tools.api_reference [--out build/api]

Modules that need a package that is not installed are left out by name.
"""

import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

import kinestream
import kinestream.kernels
from kinestream.tools import options
from kinestream.tools.extras import optional_module

LEFT_OUT = ("kinestream.trainer", "kinestream.tools")


def module_names() -> Iterator[str]:
    """Every module of the tracker and the kernels, private ones left out."""
    names = dict.fromkeys(["kinestream", "kinestream.kernels"])
    for package in (kinestream, kinestream.kernels):
        walked = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names |= dict.fromkeys(found.name for found in walked)
    for name in names:  # an installed package also lies above trainer and tools
        if not name.startswith(LEFT_OUT) and not name.rpartition(".")[2].startswith("_"):
            yield name


def main(out: options.OutFolder = Path("build/api")) -> None:
    """Write HTML pages; index.html is the first."""
    pdoc = optional_module("pdoc", extra="docs", purpose="the API reference")
    console = Console(highlight=False)
    names = []
    for name in module_names():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            console.print(f"left out: {name} needs {error.name}")
            continue
        names.append(name)
    for name in kinestream.__all__:
        setattr(kinestream, name, getattr(kinestream, name))  # loaded on first use, which pdoc does not know
    warnings.filterwarnings("ignore", "Error parsing type annotation")  # of names that exist for mypy alone
    pdoc.pdoc(*names, output_directory=out)
    console.print(f"{len(names)} modules: {out / 'index.html'}")


if __name__ == "__main__":
    typer.run(main)
