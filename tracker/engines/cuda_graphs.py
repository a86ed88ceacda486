"""A network as recorded GPU work: one recording for each size of batch, static buffers, one copy back.

A batch is filled up to the next recorded size, a power of two; larger ones than the largest run in parts.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from kinestream.engines.engine import NetworkInput, Precision, examples, flatten, rebuild
from kinestream.engines.gpu import Gpu, explained
from kinestream.kernels.array_types import AnyArray

log = logging.getLogger(__name__)

Prepare = Callable[[Sequence[Tensor]], Callable[[], Sequence[Tensor]]]
"""From static inputs on the device to work that reads them and returns the network's tensors in order."""

KEPT: Final = 24
"""Recordings that are kept; a source whose frames change shape all the time records anew."""


class GraphEngine:
    """An engine (see :class:`kinestream.engines.engine.Engine`) that replays recorded work."""

    def __init__(
        self,
        gpu: Gpu,
        prepare: Prepare,
        *,
        name: str,
        detail: str,
        precision: Precision,
        like: Any,
        max_batch: int,
    ) -> None:
        """Take what runs the network on the device; ``like`` is a result of it, whose form results take."""
        self.name, self.detail, self.precision = name, detail, precision
        self._gpu, self._prepare, self._like, self._max_batch = gpu, prepare, like, max_batch
        self._recordings: dict[tuple[object, ...], _Recording] = {}

    def __call__(self, *inputs: AnyArray) -> Any:
        """Run on arrays with a common batch; :class:`EngineError` when the GPU's memory is too small."""
        tensors = _tensors(inputs)
        starts = range(0, len(tensors[0]), self._max_batch)
        split = [tuple(value[start : start + self._max_batch] for value in tensors) for start in starts]
        parts = [self._recording(part)(part) for part in split]
        return rebuild(self._like, (torch.cat(leaves).numpy() for leaves in zip(*parts, strict=True)))

    def warm_up(self, inputs: Sequence[NetworkInput]) -> None:
        """Record every size of batch, so that none is recorded while a camera waits."""
        only_batch = all(entry.varies == (0,) for entry in inputs)
        size = 1
        while size <= (self._max_batch if only_batch else 1):
            self._recording(_tensors(examples(inputs, size)))
            size *= 2

    def device_ms(self, *inputs: AnyArray) -> float:
        """Time of the device for one replay of at most the largest batch, copies left out."""
        tensors = _tensors(inputs)
        recording = self._recording(tensors)
        recording(tensors)
        return self._gpu.time_ms(recording.replay)

    def _recording(self, inputs: Sequence[Tensor]) -> "_Recording":
        size = min(self._max_batch, 1 << max(len(inputs[0]) - 1, 0).bit_length())
        key = (size, *((tuple(value.shape[1:]), value.dtype) for value in inputs))
        found = self._recordings.pop(key, None)
        if found is None:
            try:
                found = _Recording(self._gpu, self._prepare, inputs, size)
            except RuntimeError as error:
                raise explained(self.name, error) from error
            log.debug("engine %s: recorded %s", self.name, key)
        self._recordings[key] = found  # the one used last comes last
        while len(self._recordings) > KEPT:
            del self._recordings[next(iter(self._recordings))]
        return found


class _Recording:
    """The network for one size of batch, with the memory it reads and writes."""

    def __init__(self, gpu: Gpu, prepare: Prepare, inputs: Sequence[Tensor], size: int) -> None:
        self._gpu = gpu
        self._host = [gpu.host(_batch_of(value, size)) for value in inputs]
        self._device = [value.to(gpu.device, copy=True) for value in self._host]
        work = prepare(self._device)
        shapes: list[tuple[int, ...]] = []

        def packed() -> Tensor:
            outputs = work()
            shapes[:] = [tuple(value.shape[1:]) for value in outputs]
            return torch.cat([value.reshape(size, -1).float() for value in outputs], 1)

        self.replay, self._output = gpu.record(packed)
        self._shapes = shapes
        self._result = gpu.host(self._output)

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The network's tensors, on the CPU, in memory of their own."""
        batch = len(inputs[0])
        with torch.inference_mode(), self._gpu.running():
            for host, device, value in zip(self._host, self._device, inputs, strict=True):
                host[:batch].copy_(value)
                device.copy_(host, non_blocking=True)
            self.replay()
            self._result.copy_(self._output, non_blocking=True)
        rows = self._result[:batch].clone()
        sizes = [torch.Size(shape).numel() for shape in self._shapes]
        parts = torch.split(rows, sizes, 1)
        return [part.reshape(batch, *shape) for part, shape in zip(parts, self._shapes, strict=True)]


def _tensors(arrays: Sequence[AnyArray]) -> tuple[Tensor, ...]:
    return tuple(map(torch.as_tensor, arrays))


def _batch_of(value: Tensor, size: int) -> Tensor:
    """Memory for ``size`` of such rows; pictures with their channels last."""
    layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    return torch.empty((size, *value.shape[1:]), dtype=value.dtype, memory_format=layout)


def flattened(network: Callable[..., Any]) -> Prepare:
    """A network in torch as work on the device."""

    def prepare(inputs: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
        return lambda: flatten(network(*inputs))

    return prepare
