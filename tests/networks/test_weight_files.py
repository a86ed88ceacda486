"""Weight files: what is written is read again; foreign, broken and unfitting files are refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.networks.interface import RegressorConfig
from kinestream.networks.weight_files import (
    WeightsError,
    configured,
    fill,
    pack_weights,
    read_weights,
    save_weights,
)

KIND = "test.net.v1"


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "w.safetensors"
    save_weights(path, network(), kind=KIND, config={"width": 5}, notes={"data": "none"})
    config, tensors, notes = read_weights(path, kind=KIND)
    assert config == {"width": 5} and notes == {"data": "none"}
    other = network()
    fill(other, tensors, path=path)
    for a, b in zip(other.state_dict().values(), network().state_dict().values(), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_errors_name_the_file_and_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError, match="w.safetensors"):
        read_weights(path, kind=KIND)
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="w.safetensors"):
        read_weights(path, kind=KIND)
    save_weights(path, network(), kind="other.v1", config={})
    with pytest.raises(WeightsError, match="other.v1"):
        read_weights(path, kind=KIND)
    save_weights(path, network(), kind=KIND, config={})
    with pytest.raises(WeightsError, match="do not fit"):
        fill(torch.nn.Linear(3, 4), read_weights(path, kind=KIND)[1], path=path)


def test_a_configuration_of_another_version_is_refused_by_name() -> None:
    assert configured(RegressorConfig, {"latent_size": 5}, path="a.safetensors").latent_size == 5
    for values in ({"latent_size": 5, "pyramid_width": 96}, {"latent_size": 5, "backbone": "small"}):
        with pytest.raises(WeightsError, match=r"old\.safetensors.*another version"):
            configured(RegressorConfig, values, path="old.safetensors")


def test_packed_weights_are_half_as_large_and_within_half_a_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    large = torch.nn.Sequential(torch.nn.Linear(200, 300), torch.nn.Conv2d(2, 3, 3))
    with torch.no_grad():
        large[0].weight[3] = 0.0  # a row without a scale of its own
        large[0].weight[4] *= 1e-4
        large[0].weight[5] *= 1e4
    plain, packed = tmp_path / "w.safetensors", tmp_path / "p.safetensors"
    save_weights(plain, large, kind=KIND, config={"width": 5}, notes={"data": "none"})
    pack_weights(plain, packed)
    assert packed.stat().st_size < 0.6 * plain.stat().st_size
    (config, tensors, _), exact = read_weights(packed, kind=KIND), read_weights(plain, kind=KIND).arrays
    assert config == {"width": 5}
    assert tensors.keys() == exact.keys()
    for name, value in tensors.items():
        assert value.dtype == exact[name].dtype
        if name == "0.weight":
            step = np.abs(exact[name]).max(1, keepdims=True) / 127
            assert (np.abs(value - exact[name]) <= 0.502 * step + 2e-5).all()
        else:
            np.testing.assert_array_equal(value, exact[name])
    again = tmp_path / "again.safetensors"
    pack_weights(packed, again)
    for name, value in read_weights(again, kind=KIND)[1].items():
        np.testing.assert_array_equal(value, tensors[name])
