"""``python -m kinestream.tools.bench.accuracy``: see `kinestream.tools.bench.accuracy.evaluate`."""

import typer

from kinestream.tools.bench.accuracy.evaluate import main

if __name__ == "__main__":
    typer.run(main)
