"""What workers say while they work."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """``frames`` of ``frame_count`` (None where unknown) are done, by process ``pid`` where it runs."""

    video: str
    frames: int
    frame_count: int | None
    pid: int


@dataclass(frozen=True)
class Finished:
    """The results are in place; ``summary`` is what ``result.json`` says of them."""

    video: str
    summary: dict[str, Any]


@dataclass(frozen=True)
class Broken:
    """The video cannot be processed, for the reason given; trying again would not help."""

    video: str
    reason: str


@dataclass(frozen=True)
class Died:
    """The worker ended in the middle of the video, which is to be done again."""

    video: str
    reason: str


@dataclass(frozen=True)
class Unavailable:
    """The video cannot be read at present: gone, not allowed, a failing disk. Another batch tries it."""

    video: str
    reason: str


@dataclass(frozen=True)
class Halted:
    """No video can be done here at present, for the reason given: no room, no rights, no weights."""

    video: str
    reason: str


Event = Progress | Finished | Broken | Died | Unavailable | Halted
