"""The reference engine: the module itself, in torch; and what other engines make of a module."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from kinestream.engines.engine import Network, Precision, flatten, rebuild
from kinestream.kernels.array_types import AnyArray


class TorchEngine:
    """The module itself."""

    name = "torch"
    precision: Precision = "float32"

    def __init__(self, network: nn.Module) -> None:
        self.detail = f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
        self._network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, *inputs: AnyArray) -> Any:
        """Run the module without gradients."""
        with torch.inference_mode():
            output = self._network(*map(torch.as_tensor, inputs))
        return rebuild(output, (leaf.numpy() for leaf in flatten(output)))


def require() -> None:
    """Torch is always there."""


def build(network: Network, max_batch: int) -> TorchEngine:
    """The engine; any batch size is fine."""
    return TorchEngine(network.module)


class Flat(nn.Module):
    """A network whose result is a plain tuple of tensors, as exporters want it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's tensors in order."""
        return tuple(flatten(cast(Any, self.network(*inputs))))
