"""Scenes from seeds: person crops and full frames with exact labels."""

import math
from collections.abc import Iterator
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.geometry.crop import CropTransform
from kinestream.kernels.raster import Target
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.backgrounds import Backdrop
from kinestream.trainer.scenes.cast import Actor, labels_of, world_pose
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.occluders import random_occluder
from kinestream.trainer.scenes.outfit import random_outfit
from kinestream.trainer.scenes.poses import MotionSource, PoseSource
from kinestream.trainer.scenes.sample import Frame, Sample
from kinestream.trainer.scenes.stage import SceneAssets, draw_actors
from kinestream.trainer.scenes.viewpoint import View, random_place, random_shot, turn

_Array = npt.NDArray[Any]

_ATTEMPTS: Final = 12
_KEEP_APART_M: Final = 0.55
_CROP, _FRAME = 0, 1  # streams of random numbers, so that crop(7) and frame(7) differ


class SceneGenerator:
    """Pictures with labels; the same seed gives the same picture, whatever was made before."""

    def __init__(self, assets: SceneAssets, poses: PoseSource, config: SceneConfig | None = None) -> None:
        """Take loaded assets, a source of poses, and how scenes are made."""
        self.assets, self.poses = assets, poses
        self.config = config or SceneConfig()
        self.augmenter = Augmenter(self.config)
        self._crop_target = Target(self.config.crop_px, self.config.crop_px, samples=self.config.samples)

    def crop(self, seed: int) -> Sample:
        """A person crop with its labels."""
        config, rng = self.config, np.random.default_rng((seed, _CROP))
        actor, view, box = self._first_actor(rng)
        side = config.crop_margin * float(max(box[2:] - box[:2]))
        jitter = rng.normal(0, 1, 3) * config.box_jitter
        centre = (box[:2] + box[2:]) / 2 + jitter[:2] * side
        crop = CropTransform((float(centre[0]), float(centre[1])), side * math.exp(jitter[2]), config.crop_px)
        actors = [actor]
        if rng.random() < config.crowd_share:
            actors.append(self._neighbour(actor, view, rng))
        K = crop.camera(view.camera).K
        target = self._crop_target
        target.clear()
        backdrop = self._backdrop(view, K, target, rng)
        shadow = bool(rng.random() < config.shadow_share)
        image = draw_actors(target, actors, view, K, backdrop, shadow=shadow)
        local_box = crop.to_crop(box.reshape(2, 2)).reshape(4)
        image, covered = self._occlude(image, local_box, rng)
        person = labels_of(actor, view.camera, target, K, self.assets.keypoint_depths_m, covered=covered)
        part_map = np.where(target.per_pixel(target.person) == 1, target.per_pixel(target.part), 0)
        if covered is not None:
            part_map[covered >= 0.5] = 0
        image = self._photograph(image, rng, scale=crop.scale)
        outside = _outside(crop, view)
        image[outside] = 0
        part_map[outside] = 0
        return Sample(image, part_map.astype(np.uint8), person, view.camera, crop, seed)

    def frame(self, seed: int, *, people: int | None = None) -> Frame:
        """A full picture with one to `config.max_people` people (or as many as asked for, if they fit)."""
        config, rng = self.config, np.random.default_rng((seed, _FRAME))
        first, view, _ = self._first_actor(rng)
        actors = [first]
        count = people or int(rng.integers(1, config.max_people + 1))
        for _ in range(count - 1):
            another = self._another(actors, view, rng)
            if another is not None:
                actors.append(another)
        camera = view.camera
        target = Target(camera.height_px, camera.width_px, samples=config.samples)
        backdrop = self._backdrop(view, camera.K, target, rng)
        shadow = bool(rng.random() < config.shadow_share)
        image = draw_actors(target, actors, view, camera.K, backdrop, shadow=shadow)
        image = self._photograph(image, rng, scale=1.0)
        depths = self.assets.keypoint_depths_m
        return Frame(
            image=image,
            part_map=target.per_pixel(target.part).astype(np.uint8),
            person_map=target.per_pixel(target.person).astype(np.uint8),
            people=tuple(labels_of(a, camera, target, camera.K, depths, covered=None) for a in actors),
            camera=camera,
            seed=seed,
        )

    def clip(self, seed: int, *, frames: int | None = None) -> Iterator[Frame]:
        """Frames of one person who moves: `frames` or `config.clip_frames` of them, at `config.clip_fps`.

        Raises TypeError where the source of poses knows no motions.
        """
        if not isinstance(self.poses, MotionSource):
            raise TypeError(f"clips need a MotionSource; {type(self.poses).__name__} gives single poses only")
        count = frames or self.config.clip_frames
        return make_clip(self.assets, self.poses, self.augmenter, seed, frames=count)

    def _first_actor(self, rng: np.random.Generator) -> tuple[Actor, View, npt.NDArray[np.float64]]:
        """Someone who is well inside of a picture, the view, and the box of what is inside."""
        character = Character(self.assets.library, random_outfit(self.assets.library, rng))
        best: tuple[float, Actor, View, npt.NDArray[np.float64]] | None = None
        for _ in range(_ATTEMPTS):
            shot = random_shot(self.config, rng)
            actor = self._act(character, shot.view, shot.pelvis_m, rng)
            box, share = actor.outline_px(shot.view.camera)
            if best is None or share > best[0]:
                best = share, actor, shot.view, box
            if share >= self.config.min_visible_share:
                break
        if best is None or best[0] <= 0:
            raise ValueError(
                f"no person fits into a picture in {_ATTEMPTS} attempts; "
                "are size_range, min_depth_m and image_sizes_px of the config sensible?"
            )
        return best[1:]

    def _act(self, character: Character, view: View, pelvis_m: _Array, rng: np.random.Generator) -> Actor:
        heading = turn(1, float(rng.uniform(-np.pi, np.pi)))
        return Actor.place(character, world_pose(self.poses.pose(rng), view, heading), pelvis_m)

    def _someone(self, view: View, pelvis_m: _Array, floor_m: float, rng: np.random.Generator) -> Actor:
        """A new person whose lowest point stands on the floor at height `floor_m` along `view.up`."""
        character = Character(self.assets.library, random_outfit(self.assets.library, rng))
        actor = self._act(character, view, pelvis_m, rng)
        return actor.moved(view.up * (floor_m - actor.height_m(view.up)))

    def _neighbour(self, actor: Actor, view: View, rng: np.random.Generator) -> Actor:
        """Someone near an actor, on the same floor."""
        angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(_KEEP_APART_M, 1.6)
        offset = view.rotation @ (distance * np.array([np.cos(angle), 0.0, np.sin(angle)]))
        return self._someone(view, actor.translation_m + offset, actor.height_m(view.up), rng)

    def _another(self, actors: list[Actor], view: View, rng: np.random.Generator) -> Actor | None:
        """Someone else in the picture on the floor of the first actor, not inside of anybody."""
        floor = actors[0].height_m(view.up)
        for _ in range(_ATTEMPTS):
            pixel, depth = random_place(view.camera, self.config, rng)
            actor = self._someone(view, view.camera.unproject(pixel, depth), floor, rng)
            gaps = [np.linalg.norm(actor.translation_m - other.translation_m) for other in actors]
            _, share = actor.outline_px(view.camera)
            near = float(actor.posed.vertices_m[:, 2].min()) < 0.3
            if min(gaps) >= _KEEP_APART_M and share >= self.config.min_visible_share and not near:
                return actor
        return None

    def _backdrop(self, view: View, K: _Array, target: Target, rng: np.random.Generator) -> Backdrop:
        return self.assets.backgrounds.random(
            K,
            (target.width_px, target.height_px),
            camera_from_world=view.rotation,
            panorama_share=self.config.hdri_share,
            rng=rng,
        )

    def _occlude(
        self, image: npt.NDArray[np.uint8], box: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        if rng.random() >= self.config.occluder_share:
            return image, None
        size = (image.shape[1], image.shape[0])
        picture, covered = random_occluder(self.assets.backgrounds, size, box, rng)
        return _mixed(image, picture, covered), covered

    def _photograph(
        self, image: npt.NDArray[np.uint8], rng: np.random.Generator, *, scale: float
    ) -> npt.NDArray[np.uint8]:
        """Lens, sensor and codec; the sensor has `1 / scale` pixels for every pixel of the picture."""
        image, settings = self.augmenter.optics(image, rng), self.augmenter.settings(rng)
        if scale <= 1.05:
            return self.augmenter.sensor(image, settings, rng, noise_gain=float(np.clip(scale, 0.3, 1.0)))
        size = (image.shape[1], image.shape[0])
        native = (max(int(size[0] / scale), 8), max(int(size[1] / scale), 8))
        shrink = (
            cv2.INTER_AREA if scale > 1.5 else cv2.INTER_LINEAR
        )  # areas matter, and cost, when it is much
        small = np.asarray(cv2.resize(image, native, interpolation=shrink), np.uint8)
        developed = self.augmenter.sensor(small, settings, rng)
        return np.asarray(cv2.resize(developed, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _mixed(
    image: npt.NDArray[np.uint8], picture: npt.NDArray[np.uint8], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    mixed = image + share[..., None] * (picture.astype(np.float32) - image)
    return np.asarray(mixed + 0.5).astype(np.uint8)


def _outside(crop: CropTransform, view: View) -> npt.NDArray[np.bool_]:
    """Pixels of the crop (S, S) that lie outside of the full picture."""
    ends = crop.to_full([[0.0, 0.0], [crop.crop_px - 1.0, crop.crop_px - 1.0]])
    x, y = (np.linspace(ends[0, axis], ends[1, axis], crop.crop_px) for axis in (0, 1))
    out_x = (x < -0.5) | (x > view.camera.width_px - 0.5)
    out_y = (y < -0.5) | (y > view.camera.height_px - 0.5)
    return np.asarray(out_y[:, None] | out_x[None, :])
