"""The fast CPU engine: ONNX Runtime, float32, with a fixed number of threads."""

import importlib.metadata
import io
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from kinestream.engines import cache as engine_cache
from kinestream.engines.engine import (
    EngineError,
    Flat,
    NetworkInput,
    NotHereError,
    Precision,
    TorchEngine,
    check,
    examples,
    rebuild,
    weights_key,
)


def require() -> ModuleType:
    """ONNX Runtime; :class:`EngineError` when it is not installed or does not load."""
    try:
        import onnxruntime
    except ImportError as error:
        raise NotHereError(f"engine cpu: needs ONNX Runtime ({error}); pip install onnxruntime") from error
    found: ModuleType = onnxruntime
    return found


class CpuEngine:
    """An ONNX Runtime session with a network's interface."""

    name = "cpu"
    precision: Precision = "float32"

    def __init__(self, graph: bytes, like: Any) -> None:
        """Open a graph (ONNX); ``like`` is a result of the network, whose form results take.

        Raises :class:`EngineError` when the runtime cannot read the graph.
        """
        runtime = require()
        threads = torch.get_num_threads()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Threads that spin while they wait take cores from decoding, and lengthen the tail on a busy machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        failures: tuple[type[Exception], ...] = (RuntimeError, ValueError, *_own_errors(runtime))
        try:
            self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except failures as error:
            raise EngineError(f"engine cpu: ONNX Runtime cannot read the network ({error})") from error
        self.detail = f"ONNX Runtime {_version()}, {threads} thread(s)"
        self._names = [entry.name for entry in self._session.get_inputs()]
        self._like = like

    def __call__(self, *inputs: Tensor) -> Any:
        """Run on CPU tensors."""
        feeds = {name: value.numpy() for name, value in zip(self._names, inputs, strict=True)}
        return rebuild(self._like, iter(map(torch.from_numpy, self._session.run(None, feeds))))


def build(
    network: nn.Module, inputs: Sequence[NetworkInput], reference: TorchEngine, max_batch: int
) -> CpuEngine:
    """The engine, from the cache where possible; any batch size is fine.

    Raises :class:`EngineError` when ONNX Runtime is missing or cannot run the network.
    """
    require()
    like = reference(*examples(inputs, 1))
    return engine_cache.open_or_build(
        "cpu",
        weights_key(network, inputs, onnxruntime=_version()),
        start=lambda graph: CpuEngine(graph, like),
        build=lambda: export_onnx(network, inputs),
        accept=lambda engine: check(engine, reference, inputs),
    )


def export_onnx(network: nn.Module, inputs: Sequence[NetworkInput]) -> bytes:
    """The network as an ONNX graph whose varying axes are free; :class:`EngineError` if torch cannot."""
    names = [f"input_{index}" for index in range(len(inputs))]
    free = {
        name: {axis: "batch" if axis == 0 else f"{name}_axis_{axis}" for axis in entry.varies}
        for name, entry in zip(names, inputs, strict=True)
    }
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # This exporter needs the package onnx and takes a second; the newer one takes half a minute.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Flat(network).eval(), examples(inputs, 2), cast(Any, buffer),
                input_names=names, dynamic_axes=free,
                opset_version=17, dynamo=False,
            )  # fmt: skip
    except (RuntimeError, TypeError, ValueError, ImportError, torch.onnx.errors.OnnxExporterError) as error:
        raise EngineError(
            f"engine cpu: torch {torch.__version__} cannot export the network: {error}"
        ) from error
    return buffer.getvalue()


def _version() -> str:
    return importlib.metadata.version("onnxruntime")


def _own_errors(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """The runtime's exceptions, which share no base but ``Exception``."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "Fail",
        "InvalidGraph",
        "InvalidProtobuf",
        "InvalidArgument",
        "NotImplemented",
        "RuntimeException",
    )
    return tuple(getattr(state, name) for name in names if hasattr(state, name))
