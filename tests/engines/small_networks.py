"""Networks that are small and do not answer the same everywhere, for the tests of the engines."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from kinestream.detect.network import DetectorNetwork
from kinestream.engines.engine import Engine, Network, NetworkInput, compile_network, drift, examples
from kinestream.engines.torch import TorchEngine
from kinestream.networks.interface import DetectorConfig, RegressorConfig, RegressorOutput
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import network_inputs

CONFIG = RegressorConfig(latent_size=5, backbone="tiny", crop_px=64)


def small_regressor(seed: int = 0, config: RegressorConfig = CONFIG) -> RegressorNetwork:
    """Random weights of a seed, ready to run."""
    torch.manual_seed(seed)
    return RegressorNetwork(config).eval().requires_grad_(False)


def small_detector() -> DetectorNetwork:
    """A detector whose maps vary: fresh ones answer one value everywhere."""
    torch.manual_seed(0)
    made = DetectorNetwork(DetectorConfig(backbone="tiny")).eval().requires_grad_(False)
    for head in (made.center, made.box):
        torch.nn.init.normal_(head[1].weight, std=0.1)
    return made


def network_of(module: nn.Module, inputs: Sequence[NetworkInput]) -> Network:
    """A module as engines take it."""
    digest = hashlib.sha256(repr(module).encode())
    for value in module.state_dict().values():
        digest.update(value.contiguous().numpy().tobytes())
    like = module(*map(torch.as_tensor, examples(inputs, 1)))
    return Network(lambda: module, inputs, like, digest.hexdigest())


def compiled(module: nn.Module, inputs: Sequence[NetworkInput], **options: Any) -> Engine:
    """A module in an engine."""
    return compile_network(network_of(module, inputs), **options)


def assert_equal_to_torch_at_every_batch(engine: Engine, made: RegressorNetwork) -> None:
    """The answers of an engine in float32, in their form and to 1e-4."""
    config = made.config
    inputs = network_inputs(config)
    rng = np.random.default_rng(1)
    for batch in (1, 2, 5, 17):
        images = rng.integers(0, 256, (batch, config.crop_px, config.crop_px, 3), np.uint8)
        arguments = (images.transpose(0, 3, 1, 2), *examples(inputs, batch)[1:])
        found = engine(*arguments)
        assert isinstance(found, RegressorOutput)
        assert drift(found, TorchEngine(made)(*arguments)) < 1e-4
