"""Frames from photos with boxes: the boxes stay on the people, however the photo is placed."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.trainer.data.crops import boxed_frames
from kinestream.trainer.data.crops.boxed_frames import BoxedFrames, MixedFrames
from kinestream.trainer.data.photos.open_images import BoxedPhoto

SHAPE = (96, 160)


def photo(path: Path, boxes: list[list[float]], *, group: bool = False) -> BoxedPhoto:
    """A green picture of 120 x 80 px whose boxes are red."""
    image = np.zeros((80, 120, 3), np.uint8)
    image[..., 1] = 120
    for left, top, right, bottom in boxes:
        rows, columns = (
            slice(round(top * 80), round(bottom * 80)),
            slice(round(left * 120), round(right * 120)),
        )
        image[rows, columns] = (0, 0, 255)
    cv2.imwrite(str(path), image)
    return BoxedPhoto(path, np.array(boxes, float).reshape(-1, 4), np.full(len(boxes), group))


@pytest.fixture
def undamaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxed_frames, "damage", lambda rng, image: image)


@pytest.mark.usefixtures("undamaged")
def test_boxes_stay_on_the_people(tmp_path: Path) -> None:
    frames = BoxedFrames([photo(tmp_path / "one.png", [[0.1, 0.25, 0.35, 0.9]])])
    rng, sizes, lefts = np.random.default_rng(0), set(), set()
    for _ in range(60):
        image, boxes = frames.sample(rng, shape=SHAPE)
        assert image.shape == (*SHAPE, 3) and image.dtype == np.uint8 and boxes.dtype == np.float32
        red = (image[..., 0] > 120) & (image[..., 1] < 80)
        if not len(boxes):
            assert not red.any(), "who has no box is not to be seen"
            continue
        rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(boxes[0], found, atol=1.6)
        sizes.add(round(float(boxes[0, 3] - boxes[0, 1])))
        lefts.add(bool(boxes[0, 0] < SHAPE[1] / 2))
    assert len(sizes) > 15 and lefts == {False, True}


def test_damage_and_place_are_seeded(tmp_path: Path) -> None:
    frames = BoxedFrames([photo(tmp_path / "one.png", [[0.1, 0.25, 0.35, 0.9], [0.5, 0.1, 0.9, 1.0]])])
    first, second = (frames.sample(np.random.default_rng(3), shape=SHAPE) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_groups_and_photos_without_boxes_are_left_out(tmp_path: Path) -> None:
    box = [0.1, 0.2, 0.5, 0.9]
    photos = [
        photo(tmp_path / "group.png", [box], group=True),
        photo(tmp_path / "nobody.png", []),
        photo(tmp_path / "one.png", [box]),
    ]
    assert len(BoxedFrames(photos)) == 1
    with pytest.raises(ValueError, match="none of 2 photos has boxes of single people"):
        BoxedFrames(photos[:2])


def test_sources_are_drawn_by_weight() -> None:
    class Plain:
        def __init__(self, value: int) -> None:
            self.value = value

        def sample(
            self, rng: np.random.Generator, *, shape: tuple[int, int]
        ) -> tuple[np.ndarray, np.ndarray]:
            return np.full((*shape, 3), self.value, np.uint8), np.zeros((0, 4), np.float32)

    mixed, rng = MixedFrames([(Plain(1), 3.0), (Plain(2), 1.0)]), np.random.default_rng(0)
    drawn = [int(mixed.sample(rng, shape=(2, 3))[0][0, 0, 0]) for _ in range(400)]
    assert np.mean(np.array(drawn) == 1) == pytest.approx(0.75, abs=0.06)
