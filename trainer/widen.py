"""Grow a trained regressor to a bigger backbone without changing what it computes.

    python -m trainer.widen SMALL.safetensors MEDIUM.safetensors --backbone medium

After Net2Net (Chen et al. 2016): old channels keep their weights and do not listen to the new ones yet, which
start at random; added blocks start as identities (their batch norm has gain zero). The image branch of the
state head starts anew, since it has to be trained again on the new evidence anyway.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from tracker.regress.backbone import BACKBONES
from tracker.regress.network import RegressorNetwork
from tracker.regress.regressor import REGRESSOR_FORMAT, load_network
from tracker.regress.weights import save_weights

_ANEW = ("head.image_branch.", "head.local.")


@torch.no_grad()
def widened(old: RegressorNetwork, backbone: str, *, pyramid_width: int | None = None) -> RegressorNetwork:
    """The same function with the backbone ``backbone`` and more channels in the pyramid.

    Raises ValueError where the new backbone is narrower or shallower anywhere.
    """
    small, big = BACKBONES[old.config.backbone], BACKBONES[backbone]
    sizes = zip((*small.widths, *small.depths), (*big.widths, *big.depths), strict=True)
    if any(before > after for before, after in sizes):
        raise ValueError(
            f"{backbone} ({big}) is not at least as wide and deep as {old.config.backbone} ({small})"
        )
    width = old.config.pyramid_width if pyramid_width is None else pyramid_width
    if width < old.config.pyramid_width:
        raise ValueError(f"pyramid_width: expected at least {old.config.pyramid_width}, found {width}")
    new = RegressorNetwork(replace(old.config, backbone=backbone, pyramid_width=width))
    before, after = old.state_dict(), new.state_dict()
    for name, value in after.items():
        if name.startswith(_ANEW):
            continue
        if name in before:
            after[name] = _grown(before[name], value)
        elif name.endswith("norm.weight"):
            after[name] = torch.zeros_like(value)  # an added block is an identity
    new.load_state_dict(after)
    return new


def _grown(old: Tensor, fresh: Tensor) -> Tensor:
    """``fresh`` with ``old`` in its first corner; old outputs take nothing from new inputs."""
    grown = fresh.clone()
    if old.ndim == 0:
        return old.clone()
    if old.ndim >= 2:
        grown[: len(old)] = 0.0
    grown[tuple(slice(size) for size in old.shape)] = old
    return grown


def main(
    weights: Annotated[Path, typer.Argument(help="trained weights")],
    out: Annotated[Path, typer.Argument(help="file to write")],
    backbone: Annotated[str, typer.Option(help="name of the bigger backbone")] = "medium",
    pyramid_width: Annotated[int | None, typer.Option(help="channels of the fused map")] = None,
    seed: int = 0,
) -> None:
    """Write the grown network."""
    torch.manual_seed(seed)
    network = widened(load_network(weights), backbone, pyramid_width=pyramid_width)
    save_weights(
        out, network, kind=REGRESSOR_FORMAT, config=network.config.to_dict(), notes={"steps": "widened"}
    )


if __name__ == "__main__":
    typer.run(main)
