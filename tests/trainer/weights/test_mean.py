"""The mean of weights: of all of them, and of networks of one form only."""

import pytest
import torch

from kinestream.networks.interface import RegressorConfig
from kinestream.regress.network import RegressorNetwork
from kinestream.trainer.weights.mean import mean_of

CONFIG = RegressorConfig(latent_size=4, backbone="tiny", crop_px=64)


def test_mean_of_two_networks() -> None:
    torch.manual_seed(0)
    a, b = RegressorNetwork(CONFIG), RegressorNetwork(CONFIG)
    expected = {name: (value + b.state_dict()[name]) / 2 for name, value in a.state_dict().items()}
    for name, value in mean_of([a, b]).state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_networks_of_other_forms_are_refused() -> None:
    other = RegressorConfig(latent_size=5, backbone="tiny", crop_px=64)
    with pytest.raises(ValueError, match="one form"):
        mean_of([RegressorNetwork(CONFIG), RegressorNetwork(other)])


def test_shares_weigh() -> None:
    torch.manual_seed(0)
    a, b = RegressorNetwork(CONFIG), RegressorNetwork(CONFIG)
    expected = {name: 0.25 * value + 0.75 * b.state_dict()[name] for name, value in a.state_dict().items()}
    for name, value in mean_of([a, b], [1, 3]).state_dict().items():
        torch.testing.assert_close(value, expected[name])
    with pytest.raises(ValueError, match="share"):
        mean_of([a, b], [1.0])


def test_only_one_module_is_averaged() -> None:
    torch.manual_seed(0)
    a, b = RegressorNetwork(CONFIG), RegressorNetwork(CONFIG)
    before = {name: value.clone() for name, value in a.state_dict().items()}
    for name, value in mean_of([a, b], [3, 1], only="backbone").state_dict().items():
        inside = name.startswith("backbone.")
        expected = 0.75 * before[name] + 0.25 * b.state_dict()[name] if inside else before[name]
        torch.testing.assert_close(value, expected)
    with pytest.raises(ValueError, match="pyramid"):
        mean_of([a, b], only="spine")
