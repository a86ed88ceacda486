"""OpenVINO on the CPU: in float32, and as `kinestream.engines.openvino_bf16` in bfloat16."""

import io
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np

from kinestream.engines import cache as engine_cache
from kinestream.engines.cpu import processor, threads
from kinestream.engines.engine import EngineError, Network, NotHereError, Precision, check, rebuild
from kinestream.engines.onnx_graph import onnx_graph, reference
from kinestream.kernels.array_types import AnyArray

_HINTS: Final[dict[str, str]] = {"float32": "f32", "bfloat16": "bf16"}


def require() -> None:
    """Raise :class:`NotHereError` where OpenVINO is not installed."""
    _library("openvino")


def build(network: Network, max_batch: int) -> "OpenVinoEngine":
    """The engine in float32; see :func:`open_or_build`."""
    return open_or_build("openvino", network, "float32")


class OpenVinoEngine:
    """A compiled model of OpenVINO with a network's interface."""

    def __init__(self, name: str, model: Any, like: Any, precision: Precision) -> None:
        """Take a compiled model; ``like`` is a result of the network, whose form results take."""
        self.name, self.precision = name, precision
        self.detail = (
            f"OpenVINO {_library(name).__version__.split('-')[0]}, {precision}, {threads()} thread(s)"
        )
        self._request, self._like = model.create_infer_request(), like

    def __call__(self, *inputs: AnyArray) -> Any:
        """Run on arrays."""
        self._request.infer(list(map(np.ascontiguousarray, inputs)), share_inputs=True)
        # copies: the next call writes to the same memory
        return rebuild(self._like, (tensor.data.copy() for tensor in self._request.output_tensors))


def open_or_build(name: str, network: Network, precision: Precision) -> OpenVinoEngine:
    """The engine, from the cache where possible; any batch size is fine.

    Raises :class:`EngineError` when OpenVINO is missing, cannot run the network, or its results differ.
    """
    library = _library(name)
    core = _core(library)
    # One stream on few threads that are not pinned: several trackers and a decoder share the cores.
    config = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }

    def start(compiled: bytes) -> OpenVinoEngine:
        try:
            model = core.import_model(io.BytesIO(compiled), "CPU", config)
        except RuntimeError as error:
            raise EngineError(f"engine {name}: OpenVINO cannot read the network ({error})") from error
        return OpenVinoEngine(name, model, network.like, precision)

    def make() -> bytes:
        graph = onnx_graph(network)
        try:
            exported = core.compile_model(core.read_model(graph), "CPU", config).export_model()
        except RuntimeError as error:
            raise EngineError(f"engine {name}: OpenVINO cannot compile the network ({error})") from error
        return bytes(exported.getvalue())

    versions = {"openvino": library.__version__, "processor": processor(), "precision": precision}
    return engine_cache.open_or_build(
        name, network, versions, start, make, lambda engine: check(engine, reference(network), network.inputs)
    )


def bfloat16_here(name: str) -> bool:
    """Whether this processor has instructions for bfloat16; raises as :func:`require`."""
    capabilities: Sequence[str] = _core(_library(name)).get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


@cache
def _core(library: ModuleType) -> Any:
    """The one of this process.

    It is kept until the end: the CPU plugin gives the thread that makes it a stack for signals, and frees
    that stack with the last core. In another thread's hands, the next signal would end the process.
    """
    return library.Core()


def _library(name: str) -> ModuleType:
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise NotHereError(
            f"engine {name}: needs OpenVINO ({error}); pip install 'kinestream[openvino]'"
        ) from error
    found: ModuleType = openvino
    return found
