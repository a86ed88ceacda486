"""Biovision hierarchy files (.bvh): any hierarchy, any channel order, channels in degrees."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from kinestream.trainer.data.motion.source import (
    FloatArray,
    MocapError,
    SourceMotion,
    compose_global,
    finite_numbers,
    numbered_words,
)

CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")


@dataclass
class _Joint:
    name: str
    parent: int
    offset: FloatArray
    channels: list[str] = field(default_factory=list)
    end_offset: FloatArray | None = None


class _Lines:
    """Lines of a text file in order, with errors that say where they are."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines, self.at = path, numbered_words(path), 0

    def next(self, expected: str) -> list[str]:
        if self.at >= len(self.lines):
            last = self.lines[-1][0] if self.lines else 0
            raise MocapError(f"{self.path}, line {last}: the file ends where {expected} should follow")
        self.at += 1
        return self.lines[self.at - 1][1]

    def where(self) -> str:
        return f"{self.path}, line {self.lines[self.at - 1][0] if self.lines else 0}"

    def error(self, message: str) -> MocapError:
        return MocapError(f"{self.where()}: {message}")

    def floats(self, words: list[str], count: int, what: str) -> FloatArray:
        return finite_numbers(f"{self.where()}: {what}", words, count)


def _read_hierarchy(lines: _Lines) -> list[_Joint]:
    if lines.next("HIERARCHY") != ["HIERARCHY"]:
        raise lines.error("expected HIERARCHY; is this a BVH file?")
    joints: list[_Joint] = []
    stack: list[int] = []
    in_end_site = False
    while True:
        words = lines.next("a joint, '}' or MOTION")
        key = words[0]
        if key in ("ROOT", "JOINT") and len(words) >= 2:
            if (key == "ROOT") != (not stack):
                raise lines.error(f"{key} {words[1]} at nesting depth {len(stack)}")
            name = " ".join(words[1:])
            if any(joint.name == name for joint in joints):
                raise lines.error(f"joint '{name}' occurs twice")
            joints.append(_Joint(name, stack[-1] if stack else -1, np.zeros(3)))
            stack.append(len(joints) - 1)
            _expect_brace(lines)
        elif key == "End":
            in_end_site = True
            _expect_brace(lines)
        elif key == "OFFSET":
            if not stack:
                raise lines.error("OFFSET outside of a joint")
            offset = lines.floats(words[1:], 3, "OFFSET")
            if in_end_site:
                joints[stack[-1]].end_offset = offset
            else:
                joints[stack[-1]].offset = offset
        elif key == "CHANNELS":
            if not stack or in_end_site:
                raise lines.error("CHANNELS outside of a joint")
            unknown = [word for word in words[2:] if word not in CHANNELS]
            if unknown or not words[1:2] or words[1] != str(len(words) - 2):
                raise lines.error(
                    f"CHANNELS {' '.join(words[1:])}: expected a count and as many of {CHANNELS}"
                )
            joints[stack[-1]].channels = words[2:]
        elif key == "}":
            if in_end_site:
                in_end_site = False
            elif stack:
                stack.pop()
            else:
                raise lines.error("'}' without '{'")
        elif key == "MOTION":
            if stack or not joints:
                raise lines.error("MOTION before the hierarchy is complete")
            return joints
        else:
            raise lines.error(f"unknown keyword '{key}'")


def _expect_brace(lines: _Lines) -> None:
    if lines.next("'{'") != ["{"]:
        raise lines.error("expected '{'")


def _read_motion(lines: _Lines, num_channels: int) -> tuple[FloatArray, float]:
    words = lines.next("Frames:")
    if words[0] != "Frames:" or len(words) != 2 or not words[1].isdigit():
        raise lines.error(f"expected 'Frames: N', found '{' '.join(words)}'")
    num_frames = int(words[1])
    words = lines.next("Frame Time:")
    if words[:2] != ["Frame", "Time:"]:
        raise lines.error(f"expected 'Frame Time: seconds', found '{' '.join(words)}'")
    frame_time_s = float(lines.floats(words[2:], 1, "Frame Time")[0])
    if frame_time_s <= 0:
        raise lines.error(f"Frame Time must be positive, found {frame_time_s}")
    rows = np.empty((num_frames, num_channels))
    for frame in range(num_frames):
        words = lines.next(f"frame {frame} of {num_frames}")
        rows[frame] = lines.floats(words, num_channels, f"frame {frame}")
    if lines.at != len(lines.lines):
        lines.at += 1
        raise lines.error(f"more rows than the {num_frames} frames that 'Frames:' states")
    return rows, 1.0 / frame_time_s


def _repeats_first_position(root: _Joint, first_row: FloatArray) -> bool:
    """Whether the root's OFFSET is the position (3,) of the first frame once more (some exporters do so)."""
    columns = [root.channels.index(name) for name in CHANNELS[:3] if name in root.channels]
    if len(columns) != 3 or not root.offset.any():
        return False
    return bool(np.allclose(first_row[columns], root.offset, rtol=1e-4, atol=1e-4))


def load_bvh(path: Path, *, unit_m: float = 0.01) -> SourceMotion:
    """Read a BVH file.

    Position channels of inner joints replace the joint's OFFSET and are read as constant (their first frame);
    at the root, position is OFFSET + channel, or the channel alone where the OFFSET repeats the first frame's
    position. Rotations are intrinsic, in file order.

    Args:
        path: the file.
        unit_m: metres per length unit (the form does not say it; centimetres are usual).

    Returns:
        The motion on the file's own skeleton.

    Raises:
        MocapError: with file and line, when the file is not a whole, well-formed BVH file.
    """
    lines = _Lines(Path(path))
    joints = _read_hierarchy(lines)
    rows, fps = _read_motion(lines, sum(len(joint.channels) for joint in joints))
    if not len(rows):
        raise lines.error("the motion has no frame")

    local = np.broadcast_to(np.eye(3), (len(rows), len(joints), 3, 3)).copy()
    offsets = np.stack([joint.offset for joint in joints])
    root_translation = np.broadcast_to(joints[0].offset, (len(rows), 3)).copy()
    column = 0
    for index, joint in enumerate(joints):
        values = rows[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        axes = [c for c, channel in enumerate(joint.channels) if channel.endswith("rotation")]
        if axes:
            order = "".join(joint.channels[c][0] for c in axes)
            local[:, index] = Rotation.from_euler(order, values[:, axes], degrees=True).as_matrix()
        for c, channel in enumerate(joint.channels):
            if channel.endswith("position"):
                axis = "XYZ".index(channel[0])
                if index == 0:
                    root_translation[:, axis] += values[:, c]
                else:
                    offsets[index, axis] = values[0, c]
    if _repeats_first_position(joints[0], rows[0]):
        root_translation = root_translation - joints[0].offset
    offsets[0] = 0.0
    parents = tuple(joint.parent for joint in joints)
    return SourceMotion(
        name=str(path),
        joint_names=tuple(joint.name for joint in joints),
        parents=parents,
        offsets_m=offsets * unit_m,
        global_rotations=compose_global(local, parents),
        root_translation_m=root_translation * unit_m,
        fps=fps,
        end_offsets_m={j.name: j.end_offset * unit_m for j in joints if j.end_offset is not None},
    )
