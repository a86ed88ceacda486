"""The mean of several trained regressors of one lineage.

    python -m kinestream.trainer.weights.mean A B --out MEAN

Weights that were fine-tuned from the same start can be averaged, and the mean is often better than each of
them ("model soups", Wortsman et al. 2022). With ``--only backbone`` only that module is averaged, for
instance with the weights where the fine-tuning began, which know more kinds of pictures.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network


def mean_of(
    networks: list[RegressorNetwork], shares: list[float] | None = None, *, only: str | None = None
) -> RegressorNetwork:
    """The first network with the mean weights of all; ``ValueError`` where their configurations differ.

    ``shares``, one a network, need not sum to 1; None: all count alike. With ``only``, the name of a module
    (``backbone``), all other weights stay those of the first network.
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
        if only is None or name.startswith(f"{only}.")
    }
    if not mean:
        raise ValueError(f"expected the name of a module, found {only!r}; there are {_modules(first)}")
    first.load_state_dict(states[0] | mean)
    return first


def _modules(network: RegressorNetwork) -> str:
    return ", ".join(name for name, _ in network.named_children())


def main(
    weights: Annotated[list[Path], typer.Argument(help="two or more weight files")],
    out: Annotated[Path, typer.Option(help="weights to write")],
    share: Annotated[list[float] | None, typer.Option(help="of each file, in order; default: alike")] = None,
    only: Annotated[
        str | None, typer.Option(help="average this module alone; the rest is the first's")
    ] = None,
) -> None:
    """Average and write."""
    network = mean_of([load_network(path) for path in weights], share, only=only)
    notes = {"steps": f"mean of {len(weights)} trainings"}
    save_weights(out, network, kind=REGRESSOR_FORMAT, config=network.config.to_dict(), notes=notes)


if __name__ == "__main__":
    typer.run(main)
