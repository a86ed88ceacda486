"""The state head of one regressor on the backbone and keypoints of another.

    python -m kinestream.trainer.weights.take_head KEYPOINTS HEAD --out OUT

For heads and keypoints that were trained apart from one start; calibrate what comes out
(`kinestream.trainer.weights.calibrate`), since the head never saw these keypoints.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from kinestream.networks.weight_files import save_weights
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network


def main(
    keypoints: Annotated[Path, typer.Argument(help="regressor of which all but the head is taken")],
    head: Annotated[Path, typer.Argument(help="regressor of which the head is taken")],
    out: Annotated[Path, typer.Option(help="weights to write")],
) -> None:
    """Combine two regressors of one form."""
    network, other = load_network(keypoints), load_network(head)
    mine = network.config
    std, slope = mine.keypoint_std, mine.keypoint_slope  # belong to the keypoints alone
    if replace(other.config, keypoint_std=std, keypoint_slope=slope) != mine:
        raise typer.BadParameter(f"networks of two forms: {network.config} and {other.config}")
    network.head.load_state_dict(other.head.state_dict())
    notes = {"steps": f"keypoints of {keypoints.name}, state head of {head.name}"}
    save_weights(out, network, kind=REGRESSOR_FORMAT, config=network.config.to_dict(), notes=notes)


if __name__ == "__main__":
    typer.run(main)
