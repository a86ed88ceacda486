"""The frame in which poses leave: whose axes, levelled or not, and from where positions count.

Two axis systems make a convention: that of the world around the camera, and that of the body at rest. With
C from the camera's axes (x right, y down, z forward) to the new ones and B from the body's rest axes (x to
the person's left, y up, z forward) to the new ones,

    positions  p' = C p,      root  R' = C R B^T,      joints  L' = B L B^T.

=========  ==============================  ================================  ==========
name       world: x, y, z                  body at rest: x, y, z             handedness
=========  ==============================  ================================  ==========
camera     right, down, forward (OpenCV)   left, up, forward                 right
ros        forward, left, up (REP-103)     forward, left, up                 right
unity      right, up, forward              right, up, forward                left
blender    right, forward, up              left, backward, up                right
=========  ==============================  ================================  ==========

"forward" of the world is the camera's viewing direction, left and right of the body are the person's own.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np

from kinestream.geometry.level import Ground, check_tilt, level_from_camera
from kinestream.geometry.quaternion import conjugates, from_matrix, multiply
from kinestream.kernels.array_types import AnyArray, Float32Array, Float64Array
from kinestream.pose import Person, PoseFrame

Axes = Literal["camera", "ros", "unity", "blender"]
Origin = Literal["camera", "hips", "floor"]


class _Convention(NamedTuple):
    wire_name: str
    world: Float64Array
    body: Float64Array


def _rows(*rows: tuple[int, int, int]) -> Float64Array:
    return np.array(rows, np.float64)


_CONVENTIONS: Final = {
    "camera": _Convention("opencv", np.eye(3), np.eye(3)),
    "ros": _Convention(
        "ros", _rows((0, 0, 1), (-1, 0, 0), (0, -1, 0)), _rows((0, 0, 1), (1, 0, 0), (0, 1, 0))
    ),
    "unity": _Convention(
        "unity", _rows((1, 0, 0), (0, -1, 0), (0, 0, 1)), _rows((-1, 0, 0), (0, 1, 0), (0, 0, 1))
    ),
    "blender": _Convention(
        "blender", _rows((1, 0, 0), (0, 0, 1), (0, -1, 0)), _rows((1, 0, 0), (0, 0, -1), (0, 1, 0))
    ),
}
AXES: Final[tuple[Axes, ...]] = ("camera", "ros", "unity", "blender")
WIRE_AXES: Final = tuple(entry.wire_name for entry in _CONVENTIONS.values())
"""How messages name them; ``camera`` is ``opencv`` there."""
ORIGINS: Final[tuple[Origin, ...]] = ("camera", "hips", "floor")


@dataclass(frozen=True)
class OutputFrame:
    """A choice of frame; the default leaves everything as it is.

    Attributes:
        axes: one of `AXES`.
        tilt_rad: how far the camera looks down (negative: up). The world is levelled by it, so that "up" is
            against gravity; 0 leaves it as the camera is held.
        origin: ``camera``: positions from the camera. ``hips``: joints, keypoints and vertices from the
            person's own pelvis, whose place stays in ``translation_m``. ``floor``: from the floor under the
            camera.
        roll_rad: how far the camera is turned about its line of sight; levelled as well.
        height_m: of the camera above the floor, with ``floor``.

    Raises ``ValueError`` naming the field.
    """

    axes: Axes = "camera"
    tilt_rad: float = 0.0
    origin: Origin = "camera"
    roll_rad: float = 0.0
    height_m: float = 0.0

    def __post_init__(self) -> None:
        if self.axes not in AXES:
            raise ValueError(f"axes: expected one of {', '.join(AXES)}, found {self.axes!r}")
        if self.origin not in ORIGINS:
            raise ValueError(f"origin: expected one of {', '.join(ORIGINS)}, found {self.origin!r}")
        check_tilt(self.tilt_rad, self.roll_rad)
        if not math.isfinite(self.height_m) or (self.height_m and self.origin != "floor"):
            raise ValueError(f"height: expected metres for the origin floor, found {self.height_m:g}")

    @property
    def wire_name(self) -> str:
        """The value of ``axes`` in messages."""
        return _CONVENTIONS[self.axes].wire_name

    @cached_property
    def world(self) -> Float64Array:
        """C (3, 3), from the camera's axes to these, levelled."""
        level = level_from_camera(self.tilt_rad, self.roll_rad)
        world: Float64Array = _CONVENTIONS[self.axes].world @ level
        return world

    @cached_property
    def eye(self) -> Float64Array:
        """Where the camera is, (3,): at the origin, or above it."""
        eye: Float64Array = _CONVENTIONS[self.axes].world @ [0.0, -self.height_m, 0.0]
        return eye

    @property
    def body(self) -> Float64Array:
        """B (3, 3), from the body's rest axes to these."""
        return _CONVENTIONS[self.axes].body

    def on(self, ground: Ground | None) -> "OutputFrame":
        """The same frame, levelled by an estimate, on its floor for that origin; without one as it is."""
        if ground is None:
            return self
        height_m = ground.height_m if self.origin == "floor" else 0.0
        return dataclasses.replace(
            self, tilt_rad=ground.tilt_rad, roll_rad=ground.roll_rad, height_m=height_m
        )

    def apply(self, frame: PoseFrame) -> PoseFrame:
        """The same people in this frame; pixels, shapes and standard deviations stay."""
        if self == OutputFrame():
            return frame
        return dataclasses.replace(frame, persons=tuple(self._person(person) for person in frame.persons))

    def restore(self, frame: PoseFrame) -> PoseFrame:
        """The people back in the camera frame: undoes `apply`."""
        if self == OutputFrame():
            return frame
        return dataclasses.replace(frame, persons=tuple(self._restored(person) for person in frame.persons))

    def root_quat(self, quat_wxyz: AnyArray) -> Float64Array:
        """R' of root rotations (..., 4)."""
        return multiply(self._turn, self.joint_quats(quat_wxyz))

    def joint_quats(self, quats_wxyz: AnyArray) -> Float64Array:
        """L' of joint rotations (..., 4). A reflection turns the axis and the sense of rotation."""
        turned = np.array(quats_wxyz, np.float64)
        turned[..., 1:] = turned[..., 1:] @ self._axis_turn
        return turned

    @cached_property
    def _turn(self) -> Float64Array:
        """The proper rotation C B^T as a quaternion."""
        return from_matrix(self.world @ self.body.T)

    @cached_property
    def _axis_turn(self) -> Float64Array:
        """What the vector part of a joint's quaternion is multiplied with, from the right."""
        turn: Float64Array = (np.linalg.det(self.body) * self.body).T
        return turn

    def _person(self, person: Person) -> Person:
        center, eye = (person.translation_m, 0) if self.origin == "hips" else (0, self.eye)
        changes = {
            name: (getattr(person, name) - center) @ self.world.T + eye
            for name in ("joints_cam_m", "keypoints_cam_m", "vertices_cam_m")
            if getattr(person, name) is not None
        }
        changes["translation_m"] = self.world @ person.translation_m + self.eye
        changes["root_quat_wxyz"] = self.root_quat(person.root_quat_wxyz)
        changes["joint_quats_wxyz"] = self.joint_quats(person.joint_quats_wxyz)
        return _with_arrays(person, changes)

    def _restored(self, person: Person) -> Person:
        translation_m = (person.translation_m - self.eye) @ self.world
        center, eye = (translation_m, 0) if self.origin == "hips" else (0, self.eye)
        points = {
            name: ((getattr(person, name) - eye) @ self.world + center).astype(np.float32)
            for name in ("joints_cam_m", "keypoints_cam_m", "vertices_cam_m")
            if getattr(person, name) is not None
        }
        root = multiply(conjugates(self._turn), person.root_quat_wxyz)
        return dataclasses.replace(
            person,
            root_quat_wxyz=self._restored_quats(root),
            translation_m=translation_m.astype(np.float32),
            joint_quats_wxyz=self._restored_quats(person.joint_quats_wxyz),
            **points,
        )

    def _restored_quats(self, quats_wxyz: AnyArray) -> Float32Array:
        turned = np.array(quats_wxyz, np.float64)
        turned[..., 1:] = turned[..., 1:] @ self._axis_turn.T
        return turned.astype(np.float32)


def _with_arrays(person: Person, changes: dict[str, Float64Array]) -> Person:
    """The person with other arrays of the same shapes, which need no check: that would take 0.2 ms."""
    changed = object.__new__(Person)
    changed.__dict__.update(person.__dict__)
    for name, array in changes.items():
        array = np.ascontiguousarray(array, np.float32)
        array.flags.writeable = False
        changed.__dict__[name] = array
    return changed
