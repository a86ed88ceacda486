"""The engine for an NVIDIA GPU without TensorRT: torch in float32, replayed as CUDA graphs."""

import copy
import logging
import time
from collections.abc import Sequence

import torch
from torch import nn

from kinestream.engines import gpu as gpus
from kinestream.engines.cuda_graphs import GraphEngine, flattened
from kinestream.engines.engine import NetworkInput, TorchEngine, check, examples

log = logging.getLogger(__name__)


def require() -> None:
    """:class:`EngineError` when there is no GPU that torch can use."""
    gpus.require("cuda")


def build(
    network: nn.Module, inputs: Sequence[NetworkInput], reference: TorchEngine, max_batch: int
) -> GraphEngine:
    """The engine, its batches recorded; larger batches than ``max_batch`` run in parts.

    Raises :class:`EngineError` when there is no GPU, its memory is too small, or it gives other results.
    """
    gpu = gpus.find("cuda")
    started_s = time.perf_counter()
    try:
        engine = GraphEngine(
            gpu, flattened(copy.deepcopy(network).eval().to(gpu.device)),
            name="cuda", detail=f"torch {torch.__version__} on {gpu.name}", precision="float32",
            like=reference(*examples(inputs, 1)), max_batch=max_batch,
        )  # fmt: skip
        engine.warm_up(inputs)
        check(engine, reference, inputs)
    except RuntimeError as error:
        raise gpus.explained("cuda", error) from error
    log.info("recorded the cuda engine in %.1f s", time.perf_counter() - started_s)
    return engine
