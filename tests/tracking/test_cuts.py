"""A new shot is noticed, and nothing else is: motion, pans, shaking, flashes, exposure, a lamp, noise."""

from collections.abc import Callable

import numpy as np
import pytest

from kinestream.capture import open_source
from kinestream.defaults import ASSETS
from kinestream.models import Models
from kinestream.pipeline import Tracker
from kinestream.tracking.cuts import CutDetector

STEP_NS = 40_000_000


def scene(seed: int, size: tuple[int, int] = (270, 480)) -> np.ndarray:
    """A wide picture of surfaces in colours of its own, three times as wide as what is seen of it."""
    random = np.random.default_rng(seed)
    tint = random.uniform(30, 225, 3)
    image = np.full((size[0], 3 * size[1], 3), tint)
    for _ in range(60):
        y, x = random.integers(0, size[0]), random.integers(0, 3 * size[1])
        height, width = random.integers(20, 150, 2)
        image[y : y + height, x : x + width] = np.clip(tint + random.normal(0, 45, 3), 0, 255)
    return image.astype(np.uint8)


def view(seed: int, x: int = 300, y: int = 0) -> np.ndarray:
    return np.ascontiguousarray(np.roll(scene(seed), y, axis=0)[:, x : x + 480])


def cuts(pictures: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [i for i, picture in enumerate(pictures) if detector.is_cut(picture)]


def test_cuts_are_found() -> None:
    pictures = [view(seed, 300 + 2 * i) for seed in range(12) for i in range(5)]
    found = cuts(pictures)
    assert set(found) <= set(range(5, 60, 5)), "and nothing besides"
    assert len(found) >= 8, "but for those between shots of like colours"


@pytest.mark.parametrize("pixels", [3, 40, 150])
def test_pans_are_no_cuts(pixels: int) -> None:
    """The fastest moves a third of the width in one frame."""
    assert not cuts([view(3, x) for x in range(0, 900, pixels)])


def test_shaking_is_no_cut() -> None:
    random = np.random.default_rng(0)
    assert not cuts([view(5, 300 + x, y) for x, y in random.integers(-60, 60, (60, 2))])


def test_flashes_exposure_and_noise_are_no_cuts() -> None:
    random = np.random.default_rng(1)
    picture = view(4).astype(np.float32)
    light = [1, 1.6, 1, 0.4, 1, 0.6, 1.5, 1]
    assert not cuts([np.clip(picture * share, 0, 255).astype(np.uint8) for share in light])
    noise = random.normal(0, 40, (9, *picture.shape))
    assert not cuts(list(np.clip(picture + noise, 0, 255).astype(np.uint8)))


@pytest.mark.parametrize("every", [1, 5, 12])
def test_somebody_who_runs_is_no_cut(every: int) -> None:
    """The demo clip, also as a camera of two pictures a second would have filmed it."""
    with open_source(ASSETS / "demo.mp4", policy="every") as source:
        pictures = [frame.image_rgb for frame in source]
    assert len(pictures) > 100 and not cuts(pictures[::every])
    assert cuts([*pictures[:5:2], view(9), view(9)]) == [3]


def test_whoever_stands_in_the_next_shot_is_somebody_else(
    block_models: Models, paint_blocks: Callable[..., np.ndarray]
) -> None:
    """The same place, the same colour, another shot: only the pictures around can tell."""
    random = np.random.default_rng(2)
    walls = [np.full((240, 320, 3), 20, np.uint8), random.integers(130, 190, (240, 320, 3)).astype(np.uint8)]
    walls[1][:120] //= 2
    tracker = Tracker(models=block_models, filter="none")
    ids = []
    for i in range(40):
        image = paint_blocks((320, 240), {0: (100 + i, 60, 50, 120)})
        background = np.abs(image.astype(int) - 20).sum(-1) == 0
        image[background] = walls[i // 20][background]
        ids.append([person.track_id for person in tracker.process(image, i * STEP_NS)])
    first, second = {one for row in ids[:20] for one in row}, {one for row in ids[20:] for one in row}
    assert len(first) == len(second) == 1 and not first & second
    assert not ids[20] or ids[20] == ids[25], "the new one from the first frame on, or from the next"
