"""The engine for an NVIDIA GPU without TensorRT: torch in float32, replayed as CUDA graphs."""

import copy
import logging
import time

import torch

from kinestream.engines import gpu as gpus
from kinestream.engines.cuda_graphs import GraphEngine, flattened
from kinestream.engines.engine import Network, check
from kinestream.engines.torch import TorchEngine

log = logging.getLogger(__name__)


def require() -> None:
    """:class:`EngineError` when there is no GPU that torch can use."""
    gpus.require("cuda")


def build(network: Network, max_batch: int) -> GraphEngine:
    """The engine, its batches recorded; larger batches than ``max_batch`` run in parts.

    Raises :class:`EngineError` when there is no GPU, its memory is too small, or it gives other results.
    """
    gpu = gpus.find("cuda")
    started_s = time.perf_counter()
    try:
        engine = GraphEngine(
            gpu, flattened(copy.deepcopy(network.module).eval().to(gpu.device)),
            name="cuda", detail=f"torch {torch.__version__} on {gpu.name}", precision="float32",
            like=network.like, max_batch=max_batch,
        )  # fmt: skip
        engine.warm_up(network.inputs)
        check(engine, TorchEngine(network.module), network.inputs)
    except RuntimeError as error:
        raise gpus.explained("cuda", error) from error
    log.info("recorded the cuda engine in %.1f s", time.perf_counter() - started_s)
    return engine
