"""Stand-ins for the module ``tensorrt``: an engine that runs a network at raw addresses, on the CPU."""

import ctypes
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from kinestream.engines.engine import flatten

INPUT, OUTPUT = "INPUT", "OUTPUT"


class Context:
    """Runs when told to, on what lies at the addresses then."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self.streams: list[int] = []

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return min(shape) > 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shapes = [tuple(value.shape) for value in self._results(read=False)]
        return shapes[int(name.removeprefix("output"))]

    def execute_async_v3(self, stream: int) -> bool:
        self.streams.append(stream)
        for index, value in enumerate(self._results(read=True)):
            value = value.float().contiguous()
            ctypes.memmove(self._addresses[f"output{index}"], value.data_ptr(), value.numel() * 4)
        return True

    def _results(self, *, read: bool) -> list[Tensor]:
        given = []
        for name in sorted(self._shapes):
            shape = self._shapes[name]
            if read:
                memory = (ctypes.c_float * torch.Size(shape).numel()).from_address(self._addresses[name])
                given.append(torch.frombuffer(memory, dtype=torch.float32).reshape(shape).clone())
            else:
                given.append(torch.zeros(shape))
        with torch.inference_mode():
            return flatten(self._network(*given))


class Engine:
    """Lists its tensors by the alphabet, so that output10 stands before output2."""

    def __init__(self, network: nn.Module, inputs: int, outputs: int, *, contexts: bool = True) -> None:
        self._network, self._contexts = network, contexts
        names = [f"inputs_{i}" for i in range(inputs)] + [f"output{i}" for i in range(outputs)]
        self._names = sorted(names, reverse=True)
        self.num_io_tensors = len(names)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> str:
        return INPUT if name.startswith("inputs") else OUTPUT

    def create_execution_context(self) -> Context | None:
        return Context(self._network) if self._contexts else None


def module(engine: Any, *, starts: bool = True) -> Any:
    """A module ``tensorrt`` that reads ``engine`` from every plan; None for one that it cannot read."""

    def runtime(_: object) -> Any:
        if not starts:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)

    return SimpleNamespace(
        __version__="11.0.0", __spec__=ModuleSpec("tensorrt", None), Runtime=runtime,
        Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        TensorIOMode=SimpleNamespace(INPUT=INPUT, OUTPUT=OUTPUT),
    )  # fmt: skip
