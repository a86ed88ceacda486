"""The fast CPU engine: ONNX Runtime, float32, with a fixed number of threads."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kinestream.engines import cache as engine_cache
from kinestream.engines.engine import EngineError, Network, NotHereError, Precision, check, rebuild
from kinestream.engines.onnx_graph import onnx_graph, reference
from kinestream.kernels.array_types import AnyArray


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

        self._beside = ThreadPoolExecutor(1, "engine") if _two_at_a_time else None

    def __call__(self, *inputs: AnyArray) -> Any:
        """Run on arrays."""
        middle = len(inputs[0]) // 2
        if self._beside is None or not middle:
            return rebuild(self._like, iter(self._run(inputs)))
        first = self._beside.submit(self._run, [value[:middle] for value in inputs])
        second = self._run([value[middle:] for value in inputs])
        return rebuild(self._like, map(np.concatenate, zip(first.result(), second, strict=True)))

    def _run(self, inputs: Sequence[AnyArray]) -> list[AnyArray]:
        results: list[AnyArray] = self._session.run(None, dict(zip(self._names, inputs, strict=True)))
        return results


_two_at_a_time = False


def run_halves_beside_each_other(wanted: bool) -> None:
    """Whether engines made from now on run a batch as two halves at a time, where cores are left for it.

    It takes the session's threads twice, and only where there is more than one person: they would take 1.7
    times as long on one thread, while a single person gains little from a second one.
    """
    global _two_at_a_time
    _two_at_a_time = wanted


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

    versions = {"onnxruntime": runtime.__version__, "torch": importlib.metadata.version("torch")}
    return engine_cache.open_or_build(
        "cpu",
        network,
        {**versions, "processor": processor()},
        start=lambda graph: CpuEngine(graph, network.like),
        build=lambda: _optimised(onnx_graph(network)),
        compare=lambda engine: check(engine, reference(network), network.inputs),
    )


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


def processor() -> str:
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
