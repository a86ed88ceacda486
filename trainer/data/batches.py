"""Batches for numbered steps, made here or by worker processes: the same step always gives the same batch."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from kinestream.trainer.data.crops.crop_sample import Source

S = TypeVar("S")
B = TypeVar("B")


class _StepBatches(IterableDataset[Any], Generic[S, B]):
    """Batches of a range of steps; worker w of n makes every n-th from the first + w on."""

    def __init__(
        self, source: Source[S], batch_size: int, steps: range, seed: int, collate: Callable[[list[S]], B]
    ) -> None:
        self._source, self._batch_size, self._steps = source, batch_size, steps
        self._seed, self._collate = seed, collate

    def __iter__(self) -> Iterator[B]:
        worker = get_worker_info()
        for step in self._steps if worker is None else self._steps[worker.id :: worker.num_workers]:
            rng = np.random.default_rng((self._seed, step))
            yield self._collate([self._source.sample(rng) for _ in range(self._batch_size)])


def step_batches(
    source: Source[S],
    batch_size: int,
    *,
    first: int,
    last: int,
    seed: int,
    collate: Callable[[list[S]], B],
    workers: int = 0,
) -> Iterator[B]:
    """Batches of steps ``first`` to ``last - 1`` in order, made by ``workers`` processes (0: by this one)."""
    loader: DataLoader[B] = DataLoader(
        _StepBatches(source, batch_size, range(first, last), seed, collate),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_single_threaded,
        pin_memory=torch.cuda.is_available(),
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # workers are forked, and OpenCV's waiting threads would hang them
    try:
        return iter(loader)
    finally:
        cv2.setNumThreads(threads)


def _single_threaded(_worker: int) -> None:
    torch.set_num_threads(1)
