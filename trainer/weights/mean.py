"""The mean of several trained regressors of one lineage.

    python -m kinestream.trainer.weights.mean A B --out MEAN

Weights that were fine-tuned from the same start can be averaged, and the mean is often better than each of
them ("model soups", Wortsman et al. 2022).
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network


def mean_of(networks: list[RegressorNetwork]) -> RegressorNetwork:
    """The first network with the mean weights of all; ``ValueError`` where their configurations differ."""
    first = networks[0]
    for other in networks[1:]:
        if other.config != first.config:
            raise ValueError(f"expected networks of one form, found {first.config} and {other.config}")
    states = [network.state_dict() for network in networks]
    first.load_state_dict({name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]})
    return first


def main(
    weights: Annotated[list[Path], typer.Argument(help="two or more weight files")],
    out: Annotated[Path, typer.Option(help="weights to write")],
) -> None:
    """Average and write."""
    network = mean_of([load_network(path) for path in weights])
    notes = {"steps": f"mean of {len(weights)} trainings"}
    save_weights(out, network, kind=REGRESSOR_FORMAT, config=network.config.to_dict(), notes=notes)


if __name__ == "__main__":
    typer.run(main)
