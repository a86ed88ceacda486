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

    def height_m(self, up: _Array) -> float:
        """Height of the lowest vertex along the direction `up` (3,)."""
        return float((self.posed.vertices_m @ up.astype(np.float32)).min())

    def box_xyxy_px(self, camera: Camera) -> npt.NDArray[np.float64]:
        """Box (4,) of the part of the body inside of the picture; all zeros where nothing is inside."""
        x, y, depth = (column[::_EVERY].astype(np.float64) for column in self.posed.vertices_m.T)
        front = depth > _NEAR_M
        (fx, fy), (cx, cy) = camera.focal_px, camera.center_px
        across, down = x[front] / depth[front] * fx + cx, y[front] / depth[front] * fy + cy
        right, bottom = camera.width_px - 0.5, camera.height_px - 0.5
        inside = (across >= -0.5) & (across <= right) & (down >= -0.5) & (down <= bottom)
        if not inside.any():
            return np.zeros(4)
        low = np.maximum([across.min(), down.min()], -0.5)
        return np.concatenate([low, np.minimum([across.max(), down.max()], [right, bottom])])


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
    actor: Actor, camera: Camera, target: Target, depths_m: npt.NDArray[np.float64]
) -> PersonLabels:
    """Labels of an actor in the picture of `camera` that was drawn into `target`."""
    keypoints = actor.posed.keypoints_m
    seen = cpu.vertex_visibility(target, keypoints.astype(np.float32), camera.K, tolerance_m=depths_m)
    depth = np.where(keypoints[:, 2] > _NEAR_M, keypoints[:, 2], np.nan)
    pixels = keypoints[:, :2] / depth[:, None] * camera.focal_px + camera.center_px
    with np.errstate(invalid="ignore"):
        within = (pixels >= -0.5) & (pixels < np.array([camera.width_px, camera.height_px]) - 0.5)
    visibility = np.where(within.all(1), np.where(seen, SEEN, HIDDEN), OUTSIDE).astype(np.uint8)
    return PersonLabels(
        rotations=actor.rotations.astype(np.float32),
        betas=np.asarray(actor.character.outfit.betas, np.float32),
        translation_m=actor.translation_m.astype(np.float32),
        joints_cam_m=actor.posed.joints_m.astype(np.float32),
        keypoints_cam_m=keypoints.astype(np.float32),
        keypoints_px=pixels.astype(np.float32),
        visibility=visibility,
        box_xyxy_px=actor.box_xyxy_px(camera).astype(np.float32),
    )
