"""People in a scene: characters in poses, standing on one floor before one camera."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kinestream.geometry.camera import Camera
from kinestream.kernels.raster import Target, cpu
from kinestream.trainer.scenes.character import Character, PosedCharacter
from kinestream.trainer.scenes.library import CharacterLibrary
from kinestream.trainer.scenes.sample import HIDDEN, OUTSIDE, SEEN, PersonLabels
from kinestream.trainer.scenes.viewpoint import View

_Array = npt.NDArray[Any]

_EVERY: Final = 5  # body vertices that stand for all where only extents matter
_CLOTHES_M: Final = 0.04
_NEAR_M: Final = 0.05


@dataclass(frozen=True)
class Actor:
    """A character in a pose before the camera."""

    character: Character
    posed: PosedCharacter
    rotations: npt.NDArray[np.float64]  # (24, 3, 3), root in the camera frame
    translation_m: npt.NDArray[np.float64]  # (3,) pelvis

    @classmethod
    def place(cls, character: Character, rotations_cam: _Array, translation_m: _Array) -> "Actor":
        """Pose a character by rotations whose root is in the camera frame."""
        return cls(
            character,
            character.pose(rotations_cam, translation_m),
            np.asarray(rotations_cam, np.float64),
            np.asarray(translation_m, np.float64),
        )

    def moved(self, offset_m: _Array) -> "Actor":
        """The same actor somewhere else."""
        posed = self.posed
        return Actor(
            self.character,
            PosedCharacter(
                (posed.vertices_m + offset_m).astype(np.float32),
                posed.joints_m + offset_m,
                posed.keypoints_m + offset_m,
            ),
            self.rotations,
            self.translation_m + offset_m,
        )

    def height_m(self, up: _Array) -> float:
        """Height of the lowest vertex along the direction `up` (3,)."""
        return float((self.posed.vertices_m @ up.astype(np.float32)).min())

    def outline_px(self, camera: Camera) -> tuple[npt.NDArray[np.float64], float]:
        """Box (4,) of the part of the body inside of the picture, and the share of vertices there.

        The box is all zeros where nothing is inside.
        """
        x, y, depth = (column[::_EVERY].astype(np.float64) for column in self.posed.vertices_m.T)
        front = depth > _NEAR_M
        (fx, fy), (cx, cy) = camera.focal_px, camera.center_px
        across, down = x[front] / depth[front] * fx + cx, y[front] / depth[front] * fy + cy
        right, bottom = camera.width_px - 0.5, camera.height_px - 0.5
        inside = (across >= -0.5) & (across <= right) & (down >= -0.5) & (down <= bottom)
        if not inside.any():
            return np.zeros(4), 0.0
        box = [
            max(across.min(), -0.5),
            max(down.min(), -0.5),
            min(across.max(), right),
            min(down.max(), bottom),
        ]
        return np.array(box), float(inside.sum() / len(depth))


def world_pose(rotations_world: _Array, view: View, heading: _Array) -> npt.NDArray[np.float64]:
    """Rotations with the root in the camera frame, after the person turned by `heading` (3, 3)."""
    rotations = np.array(rotations_world, np.float64)
    rotations[0] = view.rotation @ heading @ rotations[0]
    return rotations


def keypoint_depths_m(library: CharacterLibrary) -> npt.NDArray[np.float64]:
    """How deep under the clothed surface each keypoint may lie and still count as seen, (23,)."""
    rest = library.body.template_m
    keypoints = library.keypoint_regressor @ rest
    nearest = np.linalg.norm(keypoints[:, None] - rest[None], axis=-1).min(1)
    return np.asarray(1.4 * nearest + _CLOTHES_M, np.float64)


def labels_of(
    actor: Actor,
    view_camera: Camera,
    target: Target,
    K: _Array,
    depths_m: npt.NDArray[np.float64],
    *,
    covered: npt.NDArray[np.float32] | None,
) -> PersonLabels:
    """Labels of an actor in a picture that was drawn into `target` by the camera K (3, 3).

    K may be that of a crop of `view_camera`'s picture. `covered` (H, W) in 0..1: what occluders hide.
    """
    keypoints = actor.posed.keypoints_m
    seen = cpu.vertex_visibility(target, keypoints.astype(np.float32), K, tolerance_m=depths_m)
    focal, centre = np.array(view_camera.focal_px), np.array(view_camera.center_px)
    size = np.array([view_camera.width_px, view_camera.height_px])
    camera = np.asarray(K, np.float64)
    depth = np.where(keypoints[:, 2] > _NEAR_M, keypoints[:, 2], np.nan)
    slopes = keypoints[:, :2] / depth[:, None]
    pixels, local = slopes * focal + centre, slopes * camera.diagonal()[:2] + camera[:2, 2]
    limits = np.array([target.width_px, target.height_px])
    with np.errstate(invalid="ignore"):
        within = (pixels >= -0.5) & (pixels <= size - 0.5) & (local >= -0.5) & (local < limits - 0.5)
    inside = within[:, 0] & within[:, 1]
    if covered is not None:
        column, row = np.round(np.where(inside[:, None], local, 0)).astype(int).T
        seen &= covered[row, column] < 0.5
    visibility = np.where(inside, np.where(seen, SEEN, HIDDEN), OUTSIDE).astype(np.uint8)
    box, _ = actor.outline_px(view_camera)
    return PersonLabels(
        rotations=actor.rotations.astype(np.float32),
        betas=np.asarray(actor.character.outfit.betas, np.float32),
        translation_m=actor.translation_m.astype(np.float32),
        joints_cam_m=actor.posed.joints_m.astype(np.float32),
        keypoints_cam_m=keypoints.astype(np.float32),
        keypoints_px=pixels.astype(np.float32),
        visibility=visibility,
        box_xyxy_px=box.astype(np.float32),
    )
