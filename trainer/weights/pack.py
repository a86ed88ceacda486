"""Weights at half the size, for shipping.

    python -m kinestream.trainer.weights.pack TRAINED.safetensors --out OUT.safetensors

Large matrices become int8 with a scale a row. Training goes on from the unpacked file.
"""

from pathlib import Path
from typing import Annotated

import typer

from kinestream.networks.weight_files import pack_weights


def main(
    source: Annotated[Path, typer.Argument(help="weights of a regressor, detector or lifter")],
    out: Annotated[Path, typer.Option(help="file to write; may be the same")],
) -> None:
    """Pack one file."""
    pack_weights(source, out)


if __name__ == "__main__":
    typer.run(main)
