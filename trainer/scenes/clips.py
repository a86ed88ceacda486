"""Clips: one person who moves before a hand-held camera, with ground truth for every frame."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.geometry.camera import Camera, look_at
from kinestream.kernels.raster import Target
from kinestream.trainer.data.motion.clip import REST_JOINTS_M
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.backgrounds import Backdrop
from kinestream.trainer.scenes.cast import Actor, labels_of
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.outfit import random_outfit
from kinestream.trainer.scenes.poses import Motion, MotionSource
from kinestream.trainer.scenes.sample import Frame
from kinestream.trainer.scenes.stage import SceneAssets, draw_actor
from kinestream.trainer.scenes.viewpoint import ADULT_M, View, turn

_Array = npt.NDArray[Any]

_STREAM: Final = 2  # of random numbers
_FLOOR_PERCENTILE: Final = 10
_SWAY_HZ: Final = (0.3, 0.8, 1.9)  # of a hand that holds a camera
_PHOTO_MARGIN: Final = 1.12


@dataclass(frozen=True)
class Walk:
    """A character's motion in the world (y up, floor at y = 0, around the origin) and the camera's eye."""

    character: Character
    motion: Motion
    camera: Camera
    eye_m: npt.NDArray[np.float64]
    target_m: npt.NDArray[np.float64]


def make_clip(
    assets: SceneAssets,
    source: MotionSource,
    augmenter: Augmenter,
    seed: int,
    *,
    frames: int,
    only: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """Frames of the clip with this seed, at `config.clip_fps`; ``only`` some of them, by index."""
    config, rng = augmenter.config, np.random.default_rng((seed, _STREAM))
    character = Character(assets.library, random_outfit(assets.library, rng))
    whole = source.motion(rng, frames=frames, fps=config.clip_fps)
    drawn = np.arange(frames) if only is None else np.asarray(only)
    motion = grounded(character, Motion(whole.rotations[drawn], whole.root_translation_m[drawn]))
    walk = _filmed(character, motion, config, rng)
    turns = sway(frames, config, rng)[drawn]
    shadow = bool(rng.random() < config.shadow_share)
    times_s = drawn / config.clip_fps
    return film(assets, augmenter, walk, turns, seed=seed, shadow=shadow, rng=rng, times_s=times_s)


def film(
    assets: SceneAssets,
    augmenter: Augmenter,
    walk: Walk,
    sway_rad: _Array,
    *,
    seed: int,
    shadow: bool,
    rng: np.random.Generator,
    panorama: tuple[int, float] | None = None,
    times_s: Sequence[float] | npt.NDArray[np.float64] | None = None,
) -> Iterator[Frame]:
    """Draw a walk frame by frame; sway_rad (T, 3) turns the camera about its own axes.

    times_s: of the frames (T,), by default at `config.clip_fps`.
    panorama: index of the background's panorama and the heading in it; None for any background.
    """
    config, camera = augmenter.config, walk.camera
    level, _ = look_at(walk.eye_m, walk.target_m)
    settings = augmenter.settings(rng)
    scene = _Scenery(assets, camera, level, config, rng, panorama)
    target = Target(camera.height_px, camera.width_px, samples=config.samples)
    times_s = np.arange(len(sway_rad)) / config.clip_fps if times_s is None else times_s
    for index, angles in enumerate(sway_rad):
        rotation = turn(0, angles[0]) @ turn(1, angles[1]) @ turn(2, angles[2]) @ level
        view = View(camera, rotation)
        rotations = walk.motion.rotations[index].copy()
        rotations[0] = rotation @ rotations[0]
        pelvis = rotation @ (walk.motion.root_translation_m[index] - walk.eye_m)
        actor = Actor.place(walk.character, rotations, pelvis)
        target.clear()
        image = draw_actor(target, actor, view, scene.backdrop(rotation), shadow=shadow)
        yield Frame(
            image=augmenter.sensor(image, settings, rng),
            part_map=target.per_pixel(target.part).astype(np.uint8),
            person=labels_of(actor, camera, target, assets.keypoint_depths_m),
            camera=camera,
            seed=seed,
            t_ns=round(1e9 * times_s[index]),
        )


def grounded(character: Character, motion: Motion) -> Motion:
    """The motion with steps as long as this character's legs make them, centred, its feet on the floor."""
    ratio = np.linalg.norm(character.rest_joints_m[7]) / np.linalg.norm(REST_JOINTS_M[7])
    path = motion.root_translation_m * ratio
    path = path - (path.min(0) + path.max(0)) / 2 * [1, 0, 1]
    soles = [
        character.pose(rotations, position).vertices_m[:, 1].min()
        for rotations, position in zip(motion.rotations, path, strict=True)
    ]
    path[:, 1] -= np.percentile(soles, _FLOOR_PERCENTILE)
    return Motion(motion.rotations, path)


def fitting_distance_m(motion: Motion, camera: Camera, size: float) -> float:
    """Distance at which an adult is `size` of the picture high, or more where the path needs it."""
    reach = float(np.ptp(motion.root_translation_m[:, [0, 2]], axis=0).max()) / 2 + 0.6
    slope = min(camera.width_px / 2 / camera.focal_px[0], camera.height_px / 2 / camera.focal_px[1] * 2)
    return max(camera.focal_px[1] * ADULT_M / (size * camera.height_px), reach / slope + reach)


def _filmed(character: Character, motion: Motion, config: SceneConfig, rng: np.random.Generator) -> Walk:
    """A camera that has all of a motion in its picture."""
    width, height = config.image_sizes_px[int(rng.integers(len(config.image_sizes_px)))]
    camera = Camera.from_fov(width, height, fov_deg=float(rng.uniform(*config.fov_deg)))
    distance = fitting_distance_m(motion, camera, float(rng.uniform(*config.clip_size_range)))
    low, mode, high = config.camera_height_m
    eye_height = float(rng.triangular(low, mode, min(high, mode + distance / 2)))
    azimuth = float(rng.uniform(-math.pi, math.pi))
    eye = np.array([distance * math.sin(azimuth), eye_height, distance * math.cos(azimuth)])
    middle = np.array([0.0, float(np.median(motion.root_translation_m[:, 1])), 0.0])
    return Walk(character, motion, camera, eye, middle)


def sway(frames: int, config: SceneConfig, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Smooth random turns (T, 3) of a camera in the hand, radians."""
    times = np.arange(frames)[:, None, None] / config.clip_fps
    phase = rng.uniform(0, 2 * np.pi, (1, 3, len(_SWAY_HZ)))
    weight = rng.normal(0, 1, (1, 3, len(_SWAY_HZ))) / np.sqrt(len(_SWAY_HZ))
    swing = (weight * np.sin(2 * np.pi * np.array(_SWAY_HZ) * times + phase)).sum(-1)
    return np.asarray(math.radians(config.camera_shake_deg) * swing * [1.0, 1.0, 0.5])


class _Scenery:
    """The background of a clip, for every way the camera is turned."""

    def __init__(
        self,
        assets: SceneAssets,
        camera: Camera,
        level: _Array,
        config: SceneConfig,
        rng: np.random.Generator,
        panorama: tuple[int, float] | None,
    ) -> None:
        self._backgrounds, self._camera, self._level = assets.backgrounds, camera, level
        self._size = (camera.width_px, camera.height_px)
        self._panorama = panorama or (0, 0.0)
        self._still: Backdrop | None = None  # a photo, wider than the picture; None for a panorama
        if panorama is not None:
            return
        if not self._backgrounds.photos or rng.random() < config.hdri_share:
            index = int(rng.integers(len(self._backgrounds.panoramas)))
            self._panorama = index, float(rng.uniform(-np.pi, np.pi))
            return
        wide = (round(self._size[0] * _PHOTO_MARGIN), round(self._size[1] * _PHOTO_MARGIN))
        self._wide = camera.K
        self._wide[:2, 2] += (np.array(wide) - self._size) / 2
        self._still = self._backgrounds.random(
            self._wide, wide, camera_from_world=level, panorama_share=0.0, rng=rng
        )

    def backdrop(self, rotation: _Array) -> Backdrop:
        """Background and light for a camera with this rotation (3, 3) from the world."""
        if self._still is None:
            index, heading = self._panorama
            return self._backgrounds.panorama(
                self._backgrounds.panoramas[index],
                self._camera.K,
                self._size,
                camera_from_world=rotation,
                heading_rad=heading,
            )
        warp = self._camera.K @ rotation @ self._level.T @ np.linalg.inv(self._wide)
        image = cv2.warpPerspective(self._still.image, warp, self._size, borderMode=cv2.BORDER_REFLECT)
        return Backdrop(np.asarray(image, np.uint8), self._still.light)
