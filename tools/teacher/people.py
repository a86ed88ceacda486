"""Several people with a teacher that sees one: it labels the whole picture, strips of it, and the places
where people were before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinestream.tools.teacher.labels import (
    LIMB_LANDMARKS,
    Floats,
    Image,
    Landmarks,
    Teacher,
    flip_error,
    person_box,
    torso_px,
)

SAME_PERSON: Final = 0.6
"""Two answers closer than this (mean joint distance in torso lengths) show one person."""

_WINDOW: Final = 1.5
"""Side of the window around a person, in longer sides of the box."""

_STRIP: Final = 0.6
"""Width of a strip in picture widths."""

_FORGET_FRAMES: Final = 12
"""A person unseen for so many labelled frames gets a new number when seen again."""

_EDGE_PX: Final = 2.0

Window = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Seen:
    """One person in one picture; ``cut`` where the window, not the picture, ends in the person."""

    person: int
    landmarks: Landmarks
    flip_error: float
    cut: bool = False


def label_window(teacher: Teacher, image: Image, window: Window) -> Seen | None:
    """Label what the teacher sees in a window (left, top, right, bottom px), checked against its mirror."""
    left, top, right, bottom = window
    part = np.ascontiguousarray(image[top:bottom, left:right])
    seen = teacher(part)
    if seen is None:
        return None
    error = flip_error(seen, teacher(np.ascontiguousarray(part[:, ::-1])))
    height, width = image.shape[:2]
    landmarks = seen.image.copy()
    landmarks[:, :2] += (left, top)
    landmarks[:, 2] *= (right - left) / width
    mask = np.zeros((height, width), np.float32)
    mask[top:bottom, left:right] = seen.mask
    whole = Landmarks(landmarks, seen.world_m, mask)
    ends, picture = np.array(window), np.array([0, 0, width, height])
    touched = np.abs(person_box(whole) - ends) <= _EDGE_PX
    return Seen(-1, whole, error, cut=bool((touched & (ends != picture)).any()))


def _doubt(seen: Seen) -> float:
    """Of several answers for one person the whole one counts, then the one that its mirror confirms."""
    return seen.cut + seen.flip_error - 0.2 * float(seen.landmarks.image[:, 3].mean())


def distance(first: Landmarks, second: Landmarks) -> float:
    """Mean distance of the limb joints in torso lengths of the larger one."""
    limbs = list(LIMB_LANDMARKS)
    gap = np.linalg.norm(first.image[limbs, :2] - second.image[limbs, :2], axis=1).mean()
    return float(gap / max(torso_px(first), torso_px(second)))


class PeopleLabeller:
    """Labels up to ``persons`` people a picture, and numbers them from picture to picture."""

    def __init__(self, teacher: Teacher, *, persons: int = 1) -> None:
        if persons < 1:
            raise ValueError(f"at least one person a picture, found persons={persons}")
        self._teacher, self._persons = teacher, persons
        self._last: dict[int, tuple[int, Landmarks]] = {}
        self._next, self._frame = 0, 0

    def __call__(self, image: Image) -> list[Seen]:
        """Label the next picture (H, W, 3); the most reliable answers are kept, best first."""
        answers = [
            seen for window in self._windows(image) if (seen := label_window(self._teacher, image, window))
        ]
        answers.sort(key=_doubt)
        chosen: list[Seen] = []
        for seen in answers:
            if all(distance(seen.landmarks, other.landmarks) > SAME_PERSON for other in chosen):
                chosen.append(seen)
        numbered = self._numbered(chosen[: self._persons])
        self._frame += 1
        return numbered

    def _windows(self, image: Image) -> Iterator[Window]:
        height, width = image.shape[:2]
        yield 0, 0, width, height
        if self._persons == 1:
            return
        strip = int(_STRIP * width)
        for left in (0, (width - strip) // 2, width - strip):
            yield left, 0, left + strip, height
        for frame, landmarks in self._last.values():
            if self._frame - frame <= _FORGET_FRAMES:
                yield window_around(person_box(landmarks), (width, height))

    def _numbered(self, people: list[Seen]) -> list[Seen]:
        before = {n: old for n, (frame, old) in self._last.items() if self._frame - frame <= _FORGET_FRAMES}
        pairs = sorted(
            (distance(seen.landmarks, old), place, number)
            for place, seen in enumerate(people)
            for number, old in before.items()
        )
        number_of: dict[int, int] = {}
        for gap, place, number in pairs:
            if gap < 2 * SAME_PERSON and place not in number_of and number not in number_of.values():
                number_of[place] = number
        result = []
        for place, seen in enumerate(people):
            if place not in number_of:
                number_of[place], self._next = self._next, self._next + 1
            self._last[number_of[place]] = (self._frame, seen.landmarks)
            result.append(Seen(number_of[place], seen.landmarks, seen.flip_error))
        return result


def window_around(box: Floats, size: tuple[int, int]) -> Window:
    """The square window around a box (left, top, right, bottom px), cut at the edges of the picture."""
    centre, half = (box[:2] + box[2:]) / 2, _WINDOW * (box[2:] - box[:2]).max() / 2
    low = np.clip(np.floor(centre - half), 0, np.array(size) - 2).astype(int)
    high = np.clip(np.ceil(centre + half), low + 2, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
