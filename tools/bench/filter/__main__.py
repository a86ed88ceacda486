"""``python -m kinestream.tools.bench.filter``: see `kinestream.tools.bench.filter.benchmark`."""

import typer

from kinestream.tools.bench.filter.benchmark import main

if __name__ == "__main__":
    typer.run(main)
