"""Batches belong to steps: the same step gives the same batch, whoever makes it."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch

from kinestream.body.skeleton import NUM_KEYPOINTS
from kinestream.trainer.data import batches
from kinestream.trainer.data.crops.crop_sample import CropSample, collate

step_batches = partial(batches.step_batches, collate=collate)


class Noise:
    """Crops of noise without labels."""

    def sample(self, rng: np.random.Generator) -> CropSample:
        return CropSample(
            rng.integers(0, 256, (32, 32, 3), np.uint8),
            np.zeros((NUM_KEYPOINTS, 3), np.float32),
            np.zeros(NUM_KEYPOINTS, np.bool_),
            np.zeros((8, 8), np.uint8),
            presence=False,
        )


@pytest.mark.parametrize("workers", [0, 2])
def test_every_step_has_its_batch(workers: int) -> None:
    whole = list(step_batches(Noise(), 3, first=0, last=5, seed=1, workers=0))
    later = list(step_batches(Noise(), 3, first=2, last=5, seed=1, workers=workers))
    assert len(whole) == 5
    assert len(later) == 3
    for a, b in zip(whole[2:], later, strict=True):
        assert a.images.shape == (3, 3, 32, 32)
        torch.testing.assert_close(a.images, b.images)
    other = next(step_batches(Noise(), 3, first=0, last=1, seed=2))
    assert not torch.equal(other.images, whole[0].images)
    assert not torch.equal(whole[0].images, whole[1].images)


def test_workers_start_after_opencv_has_used_its_threads() -> None:
    """A forked process that ends threads which it did not inherit would wait for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        for _ in range(5):
            cv2.GaussianBlur(np.zeros((1000, 1000, 3), np.uint8), (9, 9), 2)
        assert len(list(step_batches(Noise(), 3, first=2, last=5, seed=1, workers=2))) == 3
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)
