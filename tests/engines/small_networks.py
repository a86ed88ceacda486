"""Networks that are small and do not answer the same everywhere, for the tests of the engines."""

import torch

from kinestream.detect.network import DetectorConfig, DetectorNetwork
from kinestream.regress.network import RegressorConfig, RegressorNetwork

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
