"""``python -m kinestream.tools.bench.speed``: see `kinestream.tools.bench.speed.pipeline`."""

import typer

from kinestream.tools.bench.speed.pipeline import main

if __name__ == "__main__":
    typer.run(main)
