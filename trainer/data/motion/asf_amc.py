"""Acclaim skeletons and motions (.asf + .amc), as CMU's database has them.

A bone's position is its end; as a joint tree we name a joint after the bone that begins there, so joint
`lfemur` is the hip joint and its rotation turns the thigh. A bone's local rotation is C M C^T with C from its
`axis` line and M from its degrees of freedom, both extrinsic x, y, z.
"""

from dataclasses import dataclass, field
from functools import partial
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

METRES_PER_INCH = 0.0254
ROOT_ORDER = ("TX", "TY", "TZ", "RX", "RY", "RZ")


@dataclass
class _Bone:
    name: str
    direction: FloatArray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: FloatArray = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()


@dataclass(frozen=True)
class AcclaimSkeleton:
    """A skeleton read from an .asf file; `order` has the root first and parents before children."""

    path: Path
    order: tuple[str, ...]
    parents: tuple[int, ...]
    bones: dict[str, _Bone]
    root_order: tuple[str, ...]
    unit_m: float
    degrees: bool


def load_asf(path: Path) -> AcclaimSkeleton:
    """Read an Acclaim skeleton; `MocapError` names file and line of what cannot be read."""
    path = Path(path)
    section, degrees, unit, in_hierarchy = "", True, 1.0, False
    bones: dict[str, _Bone] = {}
    children: dict[str, list[str]] = {}
    root_order: tuple[str, ...] = ROOT_ORDER
    bone: _Bone | None = None
    for number, words in numbered_words(path, comment="#"):
        key = words[0]
        values = partial(_values, f"{path}, line {number}: {key}", words)

        if key.startswith(":"):
            section = key
        elif section == ":units" and key == "length":
            unit = float(values(1)[0])
        elif section == ":units" and key == "angle":
            degrees = words[1:2] != ["rad"]
        elif section == ":root" and key == "order":
            root_order = tuple(word.upper() for word in words[1:])
            if sorted(root_order) != sorted(ROOT_ORDER):
                raise MocapError(f"{path}, line {number}: root order must hold each of {ROOT_ORDER}")
        elif section == ":bonedata" and key == "begin":
            bone = _Bone("")
        elif section == ":bonedata" and key == "end":
            if bone is None or not bone.name:
                raise MocapError(f"{path}, line {number}: 'end' of a bone without a name")
            bones[bone.name] = bone
            bone = None
        elif section == ":bonedata" and bone is not None:
            if key == "name":
                bone.name = words[-1]
            elif key == "direction":
                bone.direction = values(3)
            elif key == "length":
                bone.length = float(values(1)[0])
            elif key == "axis":
                if words[-1].upper() != "XYZ":
                    raise MocapError(f"{path}, line {number}: axis order {words[-1]}; only XYZ is known")
                bone.axis = Rotation.from_euler("xyz", values(3), degrees=degrees).as_matrix()
            elif key == "dof":
                bone.dof = tuple(word.lower() for word in words[1:])
                if not set(bone.dof) <= {"rx", "ry", "rz"}:
                    raise MocapError(f"{path}, line {number}: dof {words[1:]}; only rx, ry, rz are known")
        elif section == ":hierarchy" and key not in ("begin", "end"):
            in_hierarchy = True
            if key != "root" and key not in bones:
                raise MocapError(f"{path}, line {number}: bone '{key}' has no bonedata")
            missing = [child for child in words[1:] if child not in bones]
            if missing:
                raise MocapError(f"{path}, line {number}: bone(s) {missing} have no bonedata")
            children.setdefault(key, []).extend(words[1:])
    if not bones or not in_hierarchy:
        raise MocapError(f"{path}: no {':hierarchy' if bones else ':bonedata'} section; is this an ASF file?")

    order: list[str] = ["root"]
    parents: list[int] = [-1]
    for name in order:  # grows while it is walked: breadth first
        for child in children.get(name, ()):
            if child in order:
                raise MocapError(f"{path}: bone '{child}' has two parents in :hierarchy")
            order.append(child)
            parents.append(order.index(name))
    return AcclaimSkeleton(
        path, tuple(order), tuple(parents), bones, root_order, METRES_PER_INCH / unit, degrees
    )


def _values(where: str, words: list[str], count: int) -> FloatArray:
    return finite_numbers(where, words[1 : 1 + count], count)


def _read_amc(path: Path, skeleton: AcclaimSkeleton) -> dict[str, FloatArray]:
    """Rows of every bone: (T, number of its degrees of freedom)."""
    widths = {name: len(skeleton.bones[name].dof) for name in skeleton.order[1:]}
    widths = {"root": 6, **{name: width for name, width in widths.items() if width}}
    rows: dict[str, list[FloatArray]] = {name: [] for name in widths}
    num_frames, number = 0, 0
    for number, words in numbered_words(path, comment="#"):
        if words[0].startswith(":"):
            continue
        if len(words) == 1 and words[0].isdigit():
            _check_complete(path, number, rows, num_frames)
            num_frames += 1
            continue
        name = words[0]
        if name not in widths:
            raise MocapError(
                f"{path}, line {number}: bone '{name}' has no degree of freedom in {skeleton.path.name}"
            )
        found = finite_numbers(f"{path}, line {number}: {name}", words[1:])
        if len(found) != widths[name]:
            raise MocapError(
                f"{path}, line {number}: '{name}' needs {widths[name]} values, found {len(found)}"
            )
        if len(rows[name]) != num_frames - 1:
            raise MocapError(f"{path}, line {number}: '{name}' outside of, or twice in, frame {num_frames}")
        rows[name].append(found)
    _check_complete(path, number, rows, num_frames)
    if num_frames == 0:
        raise MocapError(f"{path}, line {number}: no frame found; is this an AMC file?")
    return {name: np.array(values) for name, values in rows.items()}


def _check_complete(path: Path, number: int, rows: dict[str, list[FloatArray]], num_frames: int) -> None:
    missing = [name for name, values in rows.items() if len(values) != num_frames]
    if missing:
        raise MocapError(f"{path}, line {number}: frame {num_frames} lacks {', '.join(missing)}")


def load_amc(path: Path, skeleton: AcclaimSkeleton | Path, *, fps: float) -> SourceMotion:
    """Read an Acclaim motion.

    Args:
        path: the .amc file.
        skeleton: the .asf file that belongs to it, or that file read by `load_asf`.
        fps: frames per second, which the form does not state.

    Raises:
        MocapError: with file and line, when a row is missing, unknown or of wrong length.
    """
    path = Path(path)
    if not isinstance(skeleton, AcclaimSkeleton):
        skeleton = load_asf(skeleton)
    rows = _read_amc(path, skeleton)
    num_frames = len(rows["root"])
    columns = [skeleton.root_order.index(name) for name in ROOT_ORDER]
    root = rows["root"][:, columns]

    local = np.broadcast_to(np.eye(3), (num_frames, len(skeleton.order), 3, 3)).copy()
    local[:, 0] = Rotation.from_euler("xyz", root[:, 3:], degrees=skeleton.degrees).as_matrix()
    offsets = np.zeros((len(skeleton.order), 3))
    ends: dict[str, FloatArray] = {}
    for index, name in enumerate(skeleton.order[1:], 1):
        bone = skeleton.bones[name]
        parent = skeleton.order[skeleton.parents[index]]
        if parent != "root":
            offsets[index] = skeleton.bones[parent].direction * skeleton.bones[parent].length
        ends[name] = bone.direction * bone.length * skeleton.unit_m
        if bone.dof:
            angles = np.zeros((num_frames, 3))
            angles[:, ["xyz".index(dof[1]) for dof in bone.dof]] = rows[name]
            motion = Rotation.from_euler("xyz", angles, degrees=skeleton.degrees).as_matrix()
            local[:, index] = bone.axis @ motion @ bone.axis.T
    return SourceMotion(
        name=str(path),
        joint_names=skeleton.order,
        parents=skeleton.parents,
        offsets_m=offsets * skeleton.unit_m,
        global_rotations=compose_global(local, skeleton.parents),
        root_translation_m=root[:, :3] * skeleton.unit_m,
        fps=fps,
        end_offsets_m=ends,
    )
