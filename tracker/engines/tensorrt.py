"""The engine for an NVIDIA GPU with TensorRT: float16, built once, kept on disk, replayed as CUDA graphs."""

import logging
from collections.abc import Sequence

from torch import nn

from kinestream.engines import cache as engine_cache
from kinestream.engines import gpu as gpus
from kinestream.engines import tensorrt_library
from kinestream.engines.cuda_graphs import GraphEngine
from kinestream.engines.engine import NetworkInput, TorchEngine, check, examples, weights_key

log = logging.getLogger(__name__)


def require() -> None:
    """:class:`EngineError` when there is no GPU, or the packages of the extra ``trt`` are not installed."""
    tensorrt_library.require()


def build(
    network: nn.Module, inputs: Sequence[NetworkInput], reference: TorchEngine, max_batch: int
) -> GraphEngine:
    """The engine, from the cache where possible; larger batches than ``max_batch`` run in parts.

    A build is named by weights, GPU, driver and versions. Raises :class:`EngineError` when GPU or library are
    missing or do not fit each other, memory is too small, or the results differ from torch.
    """
    library = tensorrt_library.find()
    gpu = gpus.find("tensorrt")
    like = reference(*examples(inputs, 1))
    version = library.versions["tensorrt"]

    def start(plan: bytes) -> GraphEngine:
        return GraphEngine(
            gpu, library.load(plan, gpu),
            name="tensorrt", detail=f"TensorRT {version} on {gpu.name}", precision="float16",
            like=like, max_batch=max_batch,
        )  # fmt: skip

    def make() -> bytes:
        # A warning, because nothing else explains the wait.
        log.warning(
            "building the TensorRT engine for %s; this takes a minute or more, the next start reads it",
            gpu.name,
        )
        return library.build(network, inputs, max_batch, gpu)

    def accept(engine: GraphEngine) -> None:
        try:
            engine.warm_up(inputs)
            check(engine, reference, inputs)
        except RuntimeError as error:
            raise gpus.explained("tensorrt", error) from error

    key = weights_key(
        network, inputs, **library.versions, gpu=gpu.name, driver=gpu.driver, max_batch=str(max_batch)
    )
    return engine_cache.open_or_build("tensorrt", key, start, make, accept)
