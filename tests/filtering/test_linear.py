"""Layers with packed weights give what the unpacked ones give."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kinestream.filtering.linear import Linear
from kinestream.networks.weight_files import INT8_SIZE, pack_weights, read_weights


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = {
        "large": (160, INT8_SIZE // 128),
        "more": (130, INT8_SIZE // 128),
        "small": (7, INT8_SIZE // 128),
    }
    matrices = {f"{name}.weight": rng.standard_normal(size, np.float32) for name, size in sizes.items()}
    return matrices | {
        f"{name}.bias": rng.standard_normal(rows, np.float32) for name, (rows, _) in sizes.items()
    }


@pytest.mark.parametrize("names", [("large",), ("large", "more"), ("large", "small"), ("small",)])
@pytest.mark.parametrize("packed", [True, False])
def test_it_is_the_product_with_what_the_file_says(
    names: tuple[str, ...], packed: bool, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "layers.safetensors"
    save_file(arrays, path, metadata={"format": "layers", "config": "{}"})
    if packed:
        pack_weights(path, path)
    layer = Linear.of(read_weights(path, kind="layers", packed=True).arrays, *names)
    assert (layer.weight.dtype == np.int8) == (packed and "small" not in names)
    restored = read_weights(path, kind="layers").arrays
    vector = np.random.default_rng(1).standard_normal(INT8_SIZE // 128).astype(np.float32)
    expected = [restored[f"{name}.weight"] @ vector + restored[f"{name}.bias"] for name in names]
    np.testing.assert_allclose(layer(vector), np.concatenate(expected), atol=2e-4)
