"""A network as an ONNX graph: put together from what ships beside its weights, or exported by torch.

An export takes torch and seconds. So beside shipped weights lies their graph without its numbers, which are
filled in from the weights, and with what torch answers to the network's examples, to compare engines with.
`kinestream.trainer.weights.graphs` writes such a file; one that is not of this network, its weights and its
code is passed over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kinestream.engines.engine import (
    EngineError,
    Network,
    NetworkInput,
    build_key,
    examples,
    flatten,
    rebuild,
)
from kinestream.kernels.array_types import AnyArray
from kinestream.networks.weight_files import WeightsError, read_arrays, read_weights, write_arrays

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

FORMAT: Final = "kinestream.graph.v1"
_FILLED_BYTES: Final = 1024
"""Smaller constants stay in the graph."""
_GRAPH: Final = "graph"


class _Shipped(NamedTuple):
    graph: bytes  # without the numbers of the weights
    weights: dict[str, str]  # constants of the graph, by which their arrays in the weight file
    answers: list[AnyArray]  # of torch, to the examples


def onnx_graph(network: Network) -> bytes:
    """The whole graph, axes that vary free; raises as :func:`export_onnx` where it has to be exported."""
    shipped = _shipped(network)
    if shipped is None or network.weights is None:
        return export_onnx(network.module, network.inputs)
    import onnx

    model, arrays = onnx.load_from_string(shipped.graph), read_arrays(network.weights)
    for constant in model.graph.initializer:
        if constant.name in shipped.weights:
            constant.raw_data = arrays[shipped.weights[constant.name]].astype("<f4").tobytes()
    return bytes(model.SerializeToString())


def reference(network: Network) -> Callable[..., Any]:
    """What answers as torch does, to examples of any batch size: torch, or its answers that ship."""
    shipped = _shipped(network)
    if shipped is None:
        from kinestream.engines.torch import TorchEngine

        return TorchEngine(network.module)

    def answer(*inputs: AnyArray) -> Any:
        return rebuild(network.like, (value.repeat(len(inputs[0]), 0) for value in shipped.answers))

    return answer


def write_graph(network: Network) -> Path:
    """Write what ships beside the network's weights; returns where. Raises as :func:`export_onnx`."""
    import onnx

    from kinestream.engines.torch import TorchEngine

    if network.weights is None:
        raise ValueError("write_graph: expected a network that is read from a file of weights")
    arrays = {value.tobytes(): name for name, value in read_arrays(network.weights).items()}
    model, weights = onnx.load_from_string(export_onnx(network.module, network.inputs)), {}
    for constant in model.graph.initializer:
        name = arrays.get(constant.raw_data)
        if name is not None and len(constant.raw_data) >= _FILLED_BYTES:
            weights[constant.name] = name
            constant.ClearField("raw_data")
    answers = flatten(TorchEngine(network.module)(*examples(network.inputs, 1)))
    packed = np.frombuffer(zlib.compress(model.SerializeToString(), 9), np.uint8)
    path = _path(network.weights)
    write_arrays(
        path,
        {_GRAPH: packed} | {str(index): np.ascontiguousarray(value) for index, value in enumerate(answers)},
        {"format": FORMAT, "config": json.dumps(weights), "key": _key(network)},
    )
    return path


def export_onnx(network: nn.Module, inputs: Sequence[NetworkInput]) -> bytes:
    """The network as torch exports it; :class:`EngineError` if it cannot."""
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
        raise EngineError(f"torch {torch.__version__} cannot export the network to ONNX: {error}") from error
    return buffer.getvalue()


def _shipped(network: Network) -> _Shipped | None:
    """What lies beside the weights; None where there is nothing, or it is of another network."""
    if network.weights is None or not _path(network.weights).exists():
        return None
    path = _path(network.weights)
    try:
        weights, arrays, notes = read_weights(path, kind=FORMAT)
        if notes.get("key") != _key(network):
            log.info("%s is of other weights or code; torch exports the network", path)
            return None
        graph = zlib.decompress(arrays.pop(_GRAPH).tobytes())
        return _Shipped(graph, weights, [arrays[str(index)] for index in range(len(arrays))])
    except (WeightsError, KeyError, zlib.error) as error:
        log.warning("%s cannot be read (%s); torch exports the network", path, error)
        return None


def _path(weights: Path) -> Path:
    return weights.with_suffix(".graph.safetensors")


def _key(network: Network) -> str:
    """Tells weights, code, shapes and examples."""
    digest = hashlib.sha256(build_key(network).encode())
    for entry in network.inputs:
        digest.update(entry.example.tobytes())
    return digest.hexdigest()
