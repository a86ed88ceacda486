"""Batches for numbered steps, made here or by worker processes: the same step always gives the same batch."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from kinestream.trainer.data.crops.crop_sample import CropBatch, CropSource, Source, collate

S = TypeVar("S")
B = TypeVar("B")


class StepBatches(IterableDataset[Any], Generic[S, B]):
    """Batches of steps ``first`` to ``last - 1``; worker w of n makes every n-th from ``first + w`` on."""

    def __init__(
        self,
        source: Source[S],
        batch_size: int,
        *,
        first: int,
        last: int,
        seed: int,
        collate: Callable[[list[S]], B],
    ) -> None:
        self._source, self._batch_size, self._collate = source, batch_size, collate
        self._first, self._last, self._seed = first, last, seed

    def __iter__(self) -> Iterator[B]:
        worker = get_worker_info()
        start, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in range(self._first + start, self._last, stride):
            rng = np.random.default_rng((self._seed, step))
            yield self._collate([self._source.sample(rng) for _ in range(self._batch_size)])


def step_batches(
    source: CropSource, batch_size: int, *, first: int, last: int, seed: int, workers: int = 0
) -> Iterator[CropBatch]:
    """Batches of steps ``first`` to ``last - 1`` in order, made by ``workers`` processes (0: by this one)."""
    return step_iterator(
        StepBatches(source, batch_size, first=first, last=last, seed=seed, collate=collate), workers=workers
    )


def step_iterator(batches: StepBatches[S, B], *, workers: int = 0) -> Iterator[B]:
    """The batches in order, made by ``workers`` processes (0: by this one)."""
    loader: DataLoader[B] = DataLoader(
        batches,
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
