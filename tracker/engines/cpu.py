"""The fast CPU engine: ONNX Runtime, float32, with a fixed number of threads."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kinestream.engines import cache as engine_cache
from kinestream.engines.engine import (
    EngineError,
    Network,
    NetworkInput,
    NotHereError,
    Precision,
    check,
    examples,
    rebuild,
)
from kinestream.kernels.array_types import AnyArray

if TYPE_CHECKING:
    from torch import nn


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
        """Open an optimised graph (ONNX); ``like`` is a result of the network, whose form results take.

        Raises :class:`EngineError` when the runtime cannot read the graph.
        """
        self._session = _session(graph, optimise=False)
        self.detail = f"ONNX Runtime {require().__version__}, {threads()} thread(s)"
        self._names = [entry.name for entry in self._session.get_inputs()]
        self._like = like

    def __call__(self, *inputs: AnyArray) -> Any:
        """Run on arrays."""
        return rebuild(self._like, iter(self._session.run(None, dict(zip(self._names, inputs, strict=True)))))


def threads() -> int:
    """As many as torch has where it is loaded; else ``OMP_NUM_THREADS``, else one for each core."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    named = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(named) if named.isdecimal() and int(named) else cores


def build(network: Network, max_batch: int) -> CpuEngine:
    """The engine, from the cache where possible; any batch size is fine.

    Raises :class:`EngineError` when ONNX Runtime is missing or cannot run the network.
    """
    runtime = require()

    def compare(engine: CpuEngine) -> float:
        from kinestream.engines.torch import TorchEngine

        return check(engine, TorchEngine(network.module), network.inputs)

    versions = {"onnxruntime": runtime.__version__, "torch": importlib.metadata.version("torch")}
    return engine_cache.open_or_build(
        "cpu",
        network,
        {**versions, "processor": _processor()},
        start=lambda graph: CpuEngine(graph, network.like),
        build=lambda: _optimised(export_onnx(network.module, network.inputs)),
        compare=compare,
    )


def export_onnx(network: nn.Module, inputs: Sequence[NetworkInput]) -> bytes:
    """The network as an ONNX graph whose varying axes are free; :class:`EngineError` if torch cannot."""
    import io
    import warnings
    from typing import cast

    import torch

    from kinestream.engines.torch import Flat

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
                Flat(network).eval(), tuple(map(torch.as_tensor, examples(inputs, 2))), cast(Any, buffer),
                input_names=names, dynamic_axes=free,
                opset_version=17, dynamo=False,
            )  # fmt: skip
    except (RuntimeError, TypeError, ValueError, ImportError, torch.onnx.errors.OnnxExporterError) as error:
        raise EngineError(
            f"engine cpu: torch {torch.__version__} cannot export the network: {error}"
        ) from error
    return buffer.getvalue()


def _session(graph: bytes, *, optimise: bool, save_to: str = "") -> Any:
    """A session of ONNX Runtime; :class:`EngineError` when it cannot read the graph."""
    runtime = require()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
    options.log_severity_level = 3
    options.optimized_model_filepath = save_to
    if not optimise:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Threads that spin while they wait take cores from decoding, and lengthen the tail on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    failures: tuple[type[Exception], ...] = (RuntimeError, ValueError, *_own_errors(runtime))
    try:
        return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise EngineError(f"engine cpu: ONNX Runtime cannot read the network ({error})") from error


def _optimised(graph: bytes) -> bytes:
    """The graph as ONNX Runtime rewrites it for this processor, so that no start has to."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.onnx")
        _session(graph, optimise=True, save_to=str(path))
        return path.read_bytes()


def _processor() -> str:
    """Name of the processor, and a hash of what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    features = told.get("flags") or told.get("Features", "")
    return f"{told.get('model name', platform.machine())} {hashlib.sha256(features.encode()).hexdigest()[:8]}"


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
