"""``python -m kinestream.tools.body_builder``: see `kinestream.tools.body_builder.build`."""

import typer

from kinestream.tools.body_builder.build import main

if __name__ == "__main__":
    typer.run(main)
