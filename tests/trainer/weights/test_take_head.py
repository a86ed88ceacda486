"""A head moves onto other keypoints; networks of two forms do not mix."""

from pathlib import Path

import pytest
import torch
import typer

from kinestream.networks.interface import RegressorConfig
from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT, load_network
from kinestream.trainer.weights.take_head import main


def saved(path: Path, seed: int, latent: int = 4) -> RegressorNetwork:
    torch.manual_seed(seed)
    network = RegressorNetwork(RegressorConfig(latent_size=latent, backbone="tiny", crop_px=64))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    save_weights(path, network, kind=REGRESSOR_FORMAT, config=network.config.to_dict(), notes={"steps": "0"})
    return network


def test_the_head_is_the_others_and_all_else_stays(tmp_path: Path) -> None:
    keypoints, head, out = (tmp_path / f"{name}.safetensors" for name in ("keypoints", "head", "out"))
    mine, other = saved(keypoints, 0).state_dict(), saved(head, 1).state_dict()
    main(keypoints, head, out)
    for name, value in load_network(out).state_dict().items():
        expected = other if name.startswith("head.") else mine
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-3)
    saved(head, 1, latent=5)
    with pytest.raises(typer.BadParameter, match="two forms"):
        main(keypoints, head, out)
