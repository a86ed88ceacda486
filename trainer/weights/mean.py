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


def mean_of(networks: list[RegressorNetwork], shares: list[float] | None = None) -> RegressorNetwork:
    """The first network with the mean weights of all; ``ValueError`` where their configurations differ.

    ``shares``, one a network, need not sum to 1; None: all count alike.
    """
    share = torch.tensor([1.0] * len(networks) if shares is None else shares)
    if len(share) != len(networks) or (share < 0).any() or share.sum() <= 0:
        raise ValueError(f"expected {len(networks)} shares of 0 or more, not all 0, found {shares}")
    first = networks[0]
    for other in networks[1:]:
        if other.config != first.config:
            raise ValueError(f"expected networks of one form, found {first.config} and {other.config}")
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.tensordot(share / share.sum(), torch.stack([state[name] for state in states]).float(), 1)
        for name in states[0]
    }
    first.load_state_dict(mean)
    return first


def main(
    weights: Annotated[list[Path], typer.Argument(help="two or more weight files")],
    out: Annotated[Path, typer.Option(help="weights to write")],
    share: Annotated[list[float] | None, typer.Option(help="of each file, in order; default: alike")] = None,
) -> None:
    """Average and write."""
    network = mean_of([load_network(path) for path in weights], share)
    notes = {"steps": f"mean of {len(weights)} trainings"}
    save_weights(out, network, kind=REGRESSOR_FORMAT, config=network.config.to_dict(), notes=notes)


if __name__ == "__main__":
    typer.run(main)
