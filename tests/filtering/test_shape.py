"""The shape of a track converges, grows surer but not absurdly so, and follows when the person changes."""

import numpy as np
import pytest

from kinestream.filtering.shape import ShapeAverage


def test_the_shape_converges_to_what_is_seen_most_surely() -> None:
    rng, shape = np.random.default_rng(0), ShapeAverage()
    truth = rng.standard_normal(10).astype(np.float32)
    stds = []
    for k in range(400):
        std = np.full(10, 0.5 if k % 2 else 2.0, np.float32)
        shape.update((truth + std * rng.standard_normal(10)).astype(np.float32), std)
        stds.append(float(shape.std[0]))
    assert np.abs(shape.betas - truth).max() < 0.25
    assert stds[100] < stds[10] < stds[0]
    assert 0.02 < stds[-1] < 0.3


def test_another_person_is_noticed_in_the_end() -> None:
    shape, std = ShapeAverage(), np.full(10, 0.5, np.float32)
    for value in (0.0, 2.0):
        for _ in range(1500):
            shape.update(np.full(10, value, np.float32), std)
    assert shape.betas == pytest.approx(np.full(10, 2.0), abs=0.1)


def test_before_anything_was_seen_there_is_no_uncertainty_to_tell() -> None:
    with pytest.raises(RuntimeError, match="no update"):
        _ = ShapeAverage().std
