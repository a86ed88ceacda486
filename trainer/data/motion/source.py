"""What every motion-capture reader returns, and the one error they raise."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class MocapError(ValueError):
    """A motion file that cannot be read; the message names the file and the line or key."""


@dataclass(frozen=True)
class SourceMotion:
    """A motion on its own skeleton, in one convention for all file forms.

    The world is y up. In the zero pose every joint's frame is parallel to the world's and the figure faces
    +z with its left side towards +x, whatever that pose looks like (T-pose or hanging arms).
    """

    name: str  # where the motion comes from, for messages
    joint_names: tuple[str, ...]  # S names, parents before children
    parents: tuple[int, ...]  # S indices, -1 for the root
    offsets_m: FloatArray  # (S, 3) from the parent joint to the joint in the zero pose; zero for the root
    global_rotations: FloatArray  # (T, S, 3, 3) world from joint frame
    root_translation_m: FloatArray  # (T, 3) position of the root joint
    fps: float  # NaN when the form does not say it
    end_offsets_m: dict[str, FloatArray] = field(default_factory=dict)  # from a leaf joint to its end site

    def __len__(self) -> int:
        return len(self.root_translation_m)

    def index(self, joint: str) -> int:
        """Index of a joint; `MocapError` names the joints that exist."""
        try:
            return self.joint_names.index(joint)
        except ValueError:
            raise MocapError(
                f"{self.name}: no joint '{joint}' in this skeleton; it has {', '.join(self.joint_names)}"
            ) from None

    def zero_positions_m(self) -> FloatArray:
        """(S, 3) joint positions in the zero pose, relative to the root joint."""
        positions = np.zeros_like(self.offsets_m)
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                positions[joint] = positions[parent] + self.offsets_m[joint]
        return positions

    def positions_m(self) -> FloatArray:
        """(T, S, 3) joint positions in the world."""
        positions = np.empty((len(self), len(self.parents), 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, joint] = self.root_translation_m
            else:
                step = self.global_rotations[:, parent] @ self.offsets_m[joint]
                positions[:, joint] = positions[:, parent] + step
        return positions


def numbered_words(path: Path, *, comment: str | None = None) -> list[tuple[int, list[str]]]:
    """Number and words of every line that has some, up to a ``comment``, which may be in any encoding."""
    numbered = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            words = (line.split(comment.encode(), 1)[0] if comment else line).decode("utf-8").split()
        except UnicodeDecodeError as error:
            raise MocapError(f"{path}, line {number}: not a text file ({error})") from None
        if words:
            numbered.append((number, words))
    return numbered


def finite_numbers(where: str, words: list[str], count: int | None = None) -> FloatArray:
    """The words as numbers, as many as ``count`` says; `MocapError` says where they are something else."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise MocapError(f"{where}: {error}") from None
    if count not in (None, len(values)) or not np.isfinite(values).all():
        wanted = "" if count is None else f"{count} "
        raise MocapError(f"{where}: expected {wanted}finite numbers, found {len(values)}: {words[:8]}")
    return values


def compose_global(local_rotations: FloatArray, parents: tuple[int, ...]) -> FloatArray:
    """(T, S, 3, 3) local rotations to global ones; parents must come before children."""
    result: FloatArray = local_rotations.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            result[:, joint] = result[:, parent] @ local_rotations[:, joint]
    return result


def shortest_arc(start: FloatArray, stop: FloatArray) -> FloatArray:
    """The rotation (3, 3) of smallest angle that turns direction start into direction stop."""
    a, b = start / np.linalg.norm(start), stop / np.linalg.norm(stop)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1.0 + 1e-9:
        raise ValueError(f"directions {a.round(3)} and {b.round(3)} are opposite: no shortest arc")
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    turned: FloatArray = np.eye(3) + cross + cross @ cross / (1.0 + cosine)
    return turned
