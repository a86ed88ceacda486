"""Render a pool of people without background.

    python -m kinestream.trainer.prepare.crop_pool --data DATA --mocap CACHE --out POOL

Writes ``POOL/train`` and ``POOL/val`` (see :mod:`kinestream.trainer.data.crops.crop_pool`). Only the free
panoramas give light; the two splits share no motion and, drawn from other seeds, no outfit.
"""

import logging
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from kinestream.geometry.crop import CropTransform
from kinestream.kernels.raster import Target, cpu
from kinestream.kernels.raster.normals import vertex_normals
from kinestream.latent.flow import PoseFlow
from kinestream.trainer import options
from kinestream.trainer.data.crops.crop_pool import create_pool
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS
from kinestream.trainer.scenes.cast import Actor, world_pose
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.lighting import vertex_light
from kinestream.trainer.scenes.outfit import random_outfit
from kinestream.trainer.scenes.poses import ClipPoses, FlowPoses, MixedPoses, PoseSource, VariedPoses
from kinestream.trainer.scenes.stage import SceneAssets
from kinestream.trainer.scenes.viewpoint import random_shot, turn

_logger = logging.getLogger(__name__)

ANY_TURN_SHARE = 0.15
"""How often a person is turned at random (lying, inverted, seen from above)."""
FLOW_SHARE = 0.15
"""How often a training pose is a sample of the pose flow instead of a captured one."""
FLOW_TEMPERATURE = 1.15
_PEOPLE_PER_OUTFIT = 6
_MIN_COVERAGE = 0.02
_MARGIN = (1.25, 1.75)


class PoolRenderer:
    """Draws people one after the other, each outfit in a few poses."""

    def __init__(
        self,
        assets: SceneAssets,
        poses: PoseSource,
        *,
        side_px: int,
        any_turn_share: float = ANY_TURN_SHARE,
    ) -> None:
        self._assets, self._poses, self._side_px = assets, poses, side_px
        self._any_turn_share = any_turn_share
        self._config = SceneConfig()
        self._target = Target(side_px, side_px, samples=self._config.samples)

    def outfit(self, rng: np.random.Generator) -> Character:
        """A newly dressed person."""
        return Character(self._assets.library, random_outfit(self._assets.library, rng))

    def draw(
        self, character: Character, rng: np.random.Generator
    ) -> dict[str, npt.NDArray[np.generic]] | None:
        """One row of a pool; None where hardly anything of the person is in the crop."""
        shot = random_shot(self._config, rng)
        pose = world_pose(self._poses.pose(rng), shot.view, turn(1, float(rng.uniform(-np.pi, np.pi))))
        if rng.random() < self._any_turn_share:
            pose[0] = _random_turn(rng) @ pose[0]
        actor = Actor.place(character, pose, shot.pelvis_m)
        keypoints = actor.posed.keypoints_m
        if keypoints[:, 2].min() < self._config.min_depth_m / 2:
            return None
        pixels = shot.view.camera.project(keypoints)
        low, high = pixels.min(0), pixels.max(0)
        margin = math.exp(rng.uniform(*np.log(_MARGIN)))
        center = (low + high) / 2
        crop = CropTransform(
            (float(center[0]), float(center[1])), margin * float((high - low).max()), self._side_px
        )
        camera = crop.camera(shot.view.camera)
        rgba, parts = self._render(actor, shot.view.rotation, camera.K, rng)
        if (rgba[..., 3] > 0).mean() < _MIN_COVERAGE:
            return None
        return {
            "rgba": rgba,
            "parts": parts[1::2, 1::2],
            "keypoints": np.concatenate([crop.to_crop(pixels), np.ones((len(pixels), 1))], 1),
            "rotations": pose[:NUM_BODY_JOINTS],
            "translation_m": actor.translation_m,
            "betas": character.outfit.betas,
            "camera": np.array([*camera.focal_px, *camera.center_px]),
        }

    def _render(
        self,
        actor: Actor,
        camera_from_world: npt.NDArray[np.float64],
        K: npt.NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Colour times coverage with coverage, and part labels, under the light of a random panorama."""
        size = (self._side_px, self._side_px)
        backdrop = self._assets.backgrounds.random(
            K, size, camera_from_world=camera_from_world, panorama_share=1.0, rng=rng
        )
        target = self._target
        target.clear()
        vertices, faces = actor.posed.vertices_m, actor.character.faces
        light = vertex_light(
            vertex_normals(vertices, faces), np.ones(len(vertices), np.float32), backdrop.light
        )
        cpu.draw(target, actor.character.mesh(vertices, light), K)
        colour = cpu.resolve(target, np.zeros((*size, 3), np.uint8), tone=backdrop.light.tone)
        coverage = np.round(255 * target.coverage()).astype(np.uint8)
        return np.dstack([colour, coverage]), np.asarray(target.per_pixel(target.part), np.uint8)


def build(renderer: PoolRenderer, folder: Path, *, count: int, side_px: int, seed: int) -> None:
    """Fill a new pool of ``count`` people."""
    arrays = create_pool(folder, count, side_px)
    rng = np.random.default_rng(seed)
    character = renderer.outfit(rng)
    done = 0
    while done < count:
        row = renderer.draw(character, rng)
        if row is None:
            continue
        for name, value in row.items():
            arrays[name][done] = value
        done += 1
        if done % _PEOPLE_PER_OUTFIT == 0:
            character = renderer.outfit(rng)
        if done % 1000 == 0:
            _logger.info("%s: %d of %d", folder.name, done, count)


def _random_turn(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A rotation (3, 3), uniformly distributed."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    result: npt.NDArray[np.float64] = q * np.linalg.det(q)
    return result


def main(
    data: options.Data,
    mocap: options.Mocap,
    out: Annotated[Path, typer.Option(help="folder for train/ and val/")],
    count: int = 10000,
    val_count: int = 600,
    side_px: int = 224,
    seed: int = 1,
    any_turn_share: Annotated[float, typer.Option(help="training people turned at random")] = ANY_TURN_SHARE,
) -> None:
    """Build both splits; a count of 0 leaves one out."""
    logging.basicConfig(level=logging.INFO)
    assets = SceneAssets.load(data, photos=False)
    varied = VariedPoses.load(mocap, split="train")
    flow = FlowPoses(PoseFlow.load(), varied, temperature=FLOW_TEMPERATURE)
    training = MixedPoses([(varied, 1 - FLOW_SHARE), (flow, FLOW_SHARE)])
    if count:
        renderer = PoolRenderer(assets, training, side_px=side_px, any_turn_share=any_turn_share)
        build(renderer, out / "train", count=count, side_px=side_px, seed=seed)
    if val_count:
        renderer = PoolRenderer(assets, ClipPoses.load(mocap, split="val"), side_px=side_px)
        build(renderer, out / "val", count=val_count, side_px=side_px, seed=seed + 1)


if __name__ == "__main__":
    typer.run(main)
