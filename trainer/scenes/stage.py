"""The loaded assets, and how an actor is drawn before a backdrop."""

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.arrays import DEFAULT_BODY_PATH, load_body_arrays
from kinestream.kernels.raster import Target, cpu
from kinestream.kernels.raster.normals import vertex_normals
from kinestream.trainer.scenes.assets import require
from kinestream.trainer.scenes.backgrounds import Backdrop, Backgrounds
from kinestream.trainer.scenes.cast import Actor, keypoint_depths_m
from kinestream.trainer.scenes.library import CharacterLibrary
from kinestream.trainer.scenes.lighting import vertex_light
from kinestream.trainer.scenes.shadows import ShadowMap, floor_shadow
from kinestream.trainer.scenes.viewpoint import View

_Array = npt.NDArray[Any]

_FEET: Final = (7, 8, 10, 11)


class SceneAssets:
    """Characters and backgrounds, loaded once and shared by generators."""

    def __init__(self, library: CharacterLibrary, backgrounds: Backgrounds) -> None:
        """Keep what was loaded."""
        self.library, self.backgrounds = library, backgrounds
        self.keypoint_depths_m = keypoint_depths_m(library)

    @classmethod
    def load(cls, data: Path, *, photos: bool = True) -> "SceneAssets":
        """Load `characters` and `backgrounds` of a data folder; `photos=False` keeps to free panoramas.

        Raises AssetError naming what is missing or damaged.
        """
        body = load_body_arrays(DEFAULT_BODY_PATH)
        library = CharacterLibrary(require(data / "characters"), body)
        return cls(library, Backgrounds(require(data / "backgrounds"), photos=photos))


def draw_actor(
    target: Target, actor: Actor, view: View, backdrop: Backdrop, *, shadow: bool
) -> npt.NDArray[np.uint8]:
    """Draw an actor, lit like the backdrop and with shadows if asked for, into an empty target.

    Returns the picture (H, W, 3); the target keeps parts and depth.
    """
    light, up, K = backdrop.light, view.up, view.camera.K
    background = backdrop.image
    vertices = actor.posed.vertices_m
    shadows, lit = None, np.ones(len(vertices), np.float32)
    if shadow:
        if light.lamp.max() > 0:
            shadows = ShadowMap.of(vertices, actor.character.coarse_faces, light.lamp_direction)
            lit = shadows.lit(vertices)
        factor = floor_shadow(
            shadows,
            K,
            (target.width_px, target.height_px),
            up=up,
            floor_point_m=up * actor.height_m(up),
            lamp_share=light.lamp_share(up),
            contacts_m=actor.posed.joints_m[list(_FEET)],
        )
        background = np.asarray(cv2.multiply(background, cv2.merge([factor] * 3), dtype=cv2.CV_8U), np.uint8)
    normals = vertex_normals(vertices, actor.character.faces)
    mesh = actor.character.mesh(vertices, vertex_light(normals, lit, light))
    cpu.draw(target, mesh, K)
    return cpu.resolve(target, background, tone=light.tone)
