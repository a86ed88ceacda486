"""What one browser shows of the people and their picture: nodes of viser's scene, moved and not made anew.

Everything lies in the camera frame (x right, y down, z forward, metres). The picture hangs behind the people,
as large as the camera sees it there, so that from the camera's place each body lies on its person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kinestream.body.arrays import BodyArrays
from kinestream.body.orientations import joint_orientations
from kinestream.body.skeleton import JOINT_NAMES, PARENTS
from kinestream.geometry.camera import Camera
from kinestream.kernels.array_types import Float32Array, Float64Array
from kinestream.kernels.raster.overlay import PALETTE
from kinestream.pose import Person, PoseFrame

if TYPE_CHECKING:
    from viser import ClientHandle, SceneApi

COASTING: Final = (150, 150, 150)
BONES: Final = np.array([(joint, parent) for joint, parent in enumerate(PARENTS) if parent >= 0])
HEAD: Final = JOINT_NAMES.index("head")
SHAPE_STEP_M: Final = 0.01
"""Another mesh takes over when the shape has moved a vertex by more than this."""
SHAPE_UPDATES: Final = 30
"""The shape is looked at once in so many updates."""
SETTLING_UPDATES: Final = 6
"""A new mesh stands as posed in every browser after so many updates."""
BACKDROP_STEP: Final = 1.25
"""The picture's distance is a power of this, so that it does not move with every step of the people."""
BEHIND_M: Final = 1.0
UNSURE: Final = (235, 90, 70)


@dataclass(frozen=True)
class Shown:
    """What of it is visible."""

    picture: bool = True
    body: bool = True
    skeleton: bool = True
    uncertainty: bool = True
    opacity: float = 0.8


class Scene:
    """The nodes of one browser."""

    def __init__(self, api: SceneApi, body: BodyArrays, shown: Shown) -> None:
        self.api, self.shown = api, shown
        self._body = body
        self._people: dict[int, _PersonNodes] = {}
        self._meshes = 0
        self._picture: Any = None
        self._frustum: Any = None
        self._place: tuple[Camera, float] | None = None

    def show(self, poses: PoseFrame, jpeg: bytes | None) -> None:
        """Move everything to where it is now; ``jpeg`` is the picture, None leaves the last one."""
        self._show_picture(poses, jpeg)
        for gone in self._people.keys() - {person.track_id for person in poses}:
            self._people.pop(gone).remove()
        for person in poses:
            if person.track_id not in self._people:
                self._people[person.track_id] = _PersonNodes(self, person)
            self._people[person.track_id].move(person)

    def set_shown(self, shown: Shown) -> None:
        """Show this and hide the rest."""
        self.shown = shown
        if self._picture is not None:
            self._picture.visible = shown.picture
        for person in self._people.values():
            person.set_shown()

    def new_mesh(self, betas: Float32Array) -> _Mesh:
        """A mesh of this shape, hidden."""
        self._meshes += 1
        return _Mesh(self.api, self._body, f"/bodies/{self._meshes}", betas)

    def _show_picture(self, poses: PoseFrame, jpeg: bytes | None) -> None:
        if self._frustum is None:
            self._frustum = self.api.add_camera_frustum("/camera", 1.0, 1.0, scale=0.1, line_width=1.0)
        if self._picture is None and jpeg is not None:
            self._picture = self.api.add_image(
                "/picture", np.zeros((1, 1, 3), np.uint8), 1, 1, format="jpeg", cast_shadow=False,
                receive_shadow=False, visible=self.shown.picture,
            )  # fmt: skip
            self._place = None
        if jpeg is not None:
            self._picture._data = jpeg  # `image` would encode it anew for every browser
        place = poses.camera, backdrop_distance(poses)
        if place != self._place:
            self._place = place
            self._frustum.fov, self._frustum.aspect = _fov_and_aspect(poses.camera)
            if self._picture is not None:
                middle, (self._picture.render_width, self._picture.render_height) = backdrop(*place)
                self._picture.position = middle


class _Mesh:
    """A skinned mesh of one shape, whose bones follow a pose."""

    def __init__(self, api: SceneApi, body: BodyArrays, name: str, betas: Float32Array) -> None:
        self._body, self._betas = body, betas
        vertices, joints = rest(body, betas)
        self.node: Any = api.add_mesh_skinned(
            name, vertices, body.faces, bone_wxyzs=_upright(len(joints)), bone_positions=joints,
            skin_weights=body.skin_weights, cast_shadow=False, receive_shadow=False, visible=False,
        )  # fmt: skip
        self.updates = 0

    def differs_m(self, betas: Float32Array) -> float:
        """How far this shape moves a vertex along one axis, from the shape of the mesh."""
        return float(np.abs(self._body.shapedirs @ (betas - self._betas)).max())

    def pose(self, turns: Float64Array, joints: Float32Array) -> None:
        """Move the bones."""
        self.updates += 1
        for bone, wxyz, position in zip(self.node.bones, turns, joints, strict=True):
            bone.wxyz, bone.position = wxyz, position

    def look(self, *, visible: bool, colour: tuple[int, int, int], opacity: float) -> None:
        """Change what is not so yet."""
        for name, value in (("color", colour), ("opacity", opacity), ("visible", visible)):
            if getattr(self.node, name) != value:
                setattr(self.node, name, value)


class _PersonNodes:
    """One person: the body, skeleton, error bars, track id."""

    def __init__(self, scene: Scene, person: Person) -> None:
        self._scene, self._api = scene, scene.api
        path, joints = f"/people/{person.track_id}", person.joints_cam_m
        self._colour = PALETTE[person.track_id % len(PALETTE)]
        self._mesh = scene.new_mesh(person.betas)
        self._next: _Mesh | None = None
        self._seen = True
        self._skeleton: Any = self._api.add_line_segments(
            f"{path}/skeleton", joints[BONES], self._colour, line_width=4.0, visible=scene.shown.skeleton
        )
        self._bars: Any = self._api.add_line_segments(
            f"{path}/uncertainty", error_bars(person), UNSURE, line_width=2.0, visible=scene.shown.uncertainty
        )
        self._label: Any = self._api.add_label(f"{path}/id", str(person.track_id), anchor="bottom-center")

    def move(self, person: Person) -> None:
        """To where the person is now."""
        turns = joint_orientations(person.root_quat_wxyz, person.joint_quats_wxyz)
        joints = person.joints_cam_m
        self._follow_shape(person.betas)
        self._seen = person.state == "tracked"
        for mesh in self._meshes():
            mesh.pose(turns, joints)
        self._dress()
        self._skeleton.points = joints[BONES]
        self._bars.points = error_bars(person)
        self._label.position = joints[HEAD] - np.float32([0, 0.25, 0])
        unseen, spread_cm = "" if self._seen else " (unseen)", 100 * float(person.joint_std_m.mean())
        text = f"{person.track_id}{unseen} ±{spread_cm:.0f} cm"
        if self._label.text != text:
            self._label.text = text

    def set_shown(self) -> None:
        """Follow what is to be shown."""
        self._dress()
        self._skeleton.visible = self._scene.shown.skeleton
        self._bars.visible = self._scene.shown.uncertainty

    def remove(self) -> None:
        """Take all of it out of the scene."""
        for node in (self._skeleton, self._bars, self._label, *(mesh.node for mesh in self._meshes())):
            node.remove()

    def _meshes(self) -> list[_Mesh]:
        return [self._mesh] if self._next is None else [self._mesh, self._next]

    def _dress(self) -> None:
        """Colour and visibility of the body."""
        shown, colour = self._scene.shown, self._colour if self._seen else COASTING
        for mesh in self._meshes():
            mesh.look(visible=shown.body and mesh is self._mesh, colour=colour, opacity=shown.opacity)

    def _follow_shape(self, betas: Float32Array) -> None:
        """Let another mesh take over when the shape has changed, once it stands where this one stands."""
        if self._next is not None and self._next.updates >= SETTLING_UPDATES:
            self._mesh.node.remove()
            self._mesh, self._next = self._next, None
        elif self._next is None and self._mesh.updates % SHAPE_UPDATES == 0:
            if self._mesh.differs_m(betas) > SHAPE_STEP_M:
                self._next = self._scene.new_mesh(betas)


def error_bars(person: Person) -> Float32Array:
    """Segments (24, 2, 3) of one standard deviation to both sides of each joint, along the line of sight.

    That is nearly the worst axis, which the deviations are of: one camera sees everything but depth.
    """
    joints = person.joints_cam_m
    reach = joints * (person.joint_std_m / np.linalg.norm(joints, axis=1))[:, None]
    return np.stack([joints - reach, joints + reach], axis=1)


def backdrop_distance(poses: PoseFrame) -> float:
    """Where the picture hangs, in metres before the camera: behind everybody, in steps."""
    farthest_m = max((float(person.joints_cam_m[:, 2].max()) for person in poses), default=3.0)
    steps = math.ceil(math.log(max(farthest_m, 0.1) + BEHIND_M, BACKDROP_STEP))
    return float(BACKDROP_STEP**steps)


def backdrop(camera: Camera, distance_m: float) -> tuple[Float64Array, tuple[float, float]]:
    """Middle and size (width, height) in metres of the picture there; for lenses without distortion."""
    size = np.array([camera.width_px, camera.height_px])
    per_px = distance_m / np.array(camera.focal_px)
    middle = ((size - 1) / 2 - camera.center_px) * per_px
    width_m, height_m = (size * per_px).tolist()
    return np.append(middle, distance_m), (width_m, height_m)


def look_through(client: ClientHandle, camera: Camera, distance_m: float) -> None:
    """Move a browser's view to the camera's place, so that it shows the whole picture."""
    fov, aspect = _fov_and_aspect(camera)
    down = math.tan(fov / 2) * max(1.0, aspect / client.camera.aspect)
    with client.atomic():
        client.camera.position = (0.0, 0.0, 0.0)
        client.camera.up_direction = (0.0, -1.0, 0.0)
        client.camera.look_at = (0.0, 0.0, distance_m / 2)
        client.camera.fov = 2 * math.atan(down)


def rest(body: BodyArrays, betas: Float32Array) -> tuple[Float32Array, Float64Array]:
    """Vertices (V, 3) and joints (24, 3) of a shape in the rest pose."""
    joint_template, joint_shapedirs = body.rest_joints
    return body.v_template + body.shapedirs @ betas, joint_template + joint_shapedirs @ betas


def _upright(count: int) -> Float32Array:
    return np.tile(np.float32([1, 0, 0, 0]), (count, 1))


def _fov_and_aspect(camera: Camera) -> tuple[float, float]:
    across, down = (
        size / 2 / focal
        for size, focal in zip((camera.width_px, camera.height_px), camera.focal_px, strict=True)
    )
    return 2 * math.atan(down), across / down
