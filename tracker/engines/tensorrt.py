"""The engine for an NVIDIA GPU with TensorRT: float16, built once, kept on disk, replayed as CUDA graphs."""

import importlib.metadata
import logging

from kinestream.engines import cache as engine_cache
from kinestream.engines import gpu as gpus
from kinestream.engines import tensorrt_library
from kinestream.engines.cuda_graphs import GraphEngine
from kinestream.engines.engine import Network, check
from kinestream.engines.torch import TorchEngine

log = logging.getLogger(__name__)


def require() -> None:
    """:class:`EngineError` when there is no GPU, or the packages of the extra ``trt`` are not installed."""
    tensorrt_library.require()


def build(network: Network, max_batch: int) -> GraphEngine:
    """The engine, from the cache where possible; larger batches than ``max_batch`` run in parts.

    A build is named by weights, GPU, driver and versions. Raises :class:`EngineError` when GPU or library are
    missing or do not fit each other, memory is too small, or the results differ from torch.
    """
    library = tensorrt_library.find()
    gpu = gpus.find("tensorrt")
    version = library.versions["tensorrt"]

    def start(plan: bytes) -> GraphEngine:
        engine = GraphEngine(
            gpu, library.load(plan, gpu),
            name="tensorrt", detail=f"TensorRT {version} on {gpu.name}", precision="float16",
            like=network.like, max_batch=max_batch,
        )  # fmt: skip
        try:
            engine.warm_up(network.inputs)
        except RuntimeError as error:
            raise gpus.explained("tensorrt", error) from error
        return engine

    def make() -> bytes:
        # A warning, because nothing else explains the wait.
        log.warning(
            "building the TensorRT engine for %s; this takes a minute or more, the next start reads it",
            gpu.name,
        )
        return library.build(network.module, network.inputs, max_batch, gpu)

    def compare(engine: GraphEngine) -> float:
        try:
            return check(engine, TorchEngine(network.module), network.inputs)
        except RuntimeError as error:
            raise gpus.explained("tensorrt", error) from error

    versions = {**library.versions, "torch": importlib.metadata.version("torch")}
    versions |= {"gpu": gpu.name, "driver": gpu.driver, "max_batch": str(max_batch)}
    return engine_cache.open_or_build("tensorrt", network, versions, start, make, compare)
