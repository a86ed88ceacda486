"""Samples for training: on the fly from the generator, or out of shards, as torch data sets.

    loader = scene_loader(SceneStream(SceneRecipe(data, mocap)), batch_size=64, workers=4)

Every worker of the loader makes its own share of the seeds, so each seed comes once per pass whatever the
number of workers. Pictures stay uint8 until they are on the device.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from trainer.scenes.sample import Sample
from trainer.scenes.shards import list_shards, read_shards

Arrays = dict[str, npt.NDArray[Any]]


class SceneStream(IterableDataset[Arrays]):
    """Crops made on the fly, `samples` of them or endless, with the seeds from `first_seed` on."""

    def __init__(
        self,
        make_sampler: Callable[[], Callable[[int], Sample]],
        *,
        first_seed: int = 0,
        samples: int | None = None,
    ) -> None:
        """Keep the recipe: `make_sampler` is called once in every worker."""
        if samples is not None and samples < 1:
            raise ValueError(f"samples must be positive or None for an endless stream; found {samples}")
        self.make_sampler, self.first_seed, self.samples = make_sampler, first_seed, samples

    def __iter__(self) -> Iterator[Arrays]:
        worker, workers = _place()
        sampler = self.make_sampler()
        index = worker
        while self.samples is None or index < self.samples:
            yield sampler(self.first_seed + index).arrays()
            index += workers


class ShardStream(IterableDataset[Arrays]):
    """Samples out of a folder of shards, the shards and a window of samples shuffled by a seed."""

    def __init__(
        self, folder: Path, *, shuffle_seed: int | None = None, window: int = 1000, epochs: int = 1
    ) -> None:
        """List the shards; ShardError where there are none.

        shuffle_seed None keeps the order. window: samples among which the next one is drawn. epochs: passes.
        """
        if window < 1 or epochs < 1:
            raise ValueError(f"window and epochs must be positive; found {window} and {epochs}")
        self.paths = list_shards(folder)
        self.shuffle_seed, self.window, self.epochs = shuffle_seed, window, epochs

    def __iter__(self) -> Iterator[Arrays]:
        worker, workers = _place()
        for epoch in range(self.epochs):
            paths = list(self.paths)
            if self.shuffle_seed is None:
                yield from read_shards(paths[worker::workers])
                continue
            np.random.default_rng((self.shuffle_seed, epoch)).shuffle(paths)
            rng = np.random.default_rng((self.shuffle_seed, epoch, worker))
            yield from _shuffled(read_shards(paths[worker::workers]), self.window, rng)


def collate(samples: Sequence[Arrays]) -> dict[str, Tensor]:
    """Stack samples: every array gets a leading batch dimension; image becomes (B, 3, S, S) uint8."""
    batch = {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}
    batch["image"] = batch["image"].permute(0, 3, 1, 2).contiguous()
    return batch


def scene_loader(
    dataset: IterableDataset[Arrays], *, batch_size: int, workers: int = 0, prefetch: int = 4
) -> DataLoader[Arrays]:
    """Loader with `workers` processes, each `prefetch` batches ahead; with none it works in this process.

    Workers are started afresh, not forked (OpenCV's threads do not survive a fork), so the data set and what
    it is made from must be picklable, as `SceneRecipe` is.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=collate,
        prefetch_factor=prefetch if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=_single_threaded if workers else None,
        multiprocessing_context="spawn" if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def _place() -> tuple[int, int]:
    """Number of this worker, and how many there are."""
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def _single_threaded(_worker: int) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _shuffled(samples: Iterator[Arrays], window: int, rng: np.random.Generator) -> Iterator[Arrays]:
    """Samples in random order: each is drawn from the next `window` ones."""
    waiting: list[Arrays] = []
    for sample in samples:
        waiting.append(sample)
        if len(waiting) >= window:
            index = int(rng.integers(len(waiting)))
            waiting[index], waiting[-1] = waiting[-1], waiting[index]
            yield waiting.pop()
    order = rng.permutation(len(waiting))
    for index in order:
        yield waiting[int(index)]
