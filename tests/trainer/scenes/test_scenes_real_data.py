"""The real assets, where KINESTREAM_DATA points to them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.body.skeleton import NUM_JOINTS
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.outfit import random_outfit
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import SEEN
from kinestream.trainer.scenes.stage import SceneAssets

FOLDER = os.environ.get("KINESTREAM_DATA")
pytestmark = pytest.mark.skipif(
    not FOLDER or not (Path(FOLDER) / "characters").is_dir(),
    reason="KINESTREAM_DATA names no folder with characters/",
)


@pytest.fixture(scope="module")
def real() -> SceneAssets:
    return SceneAssets.load(Path(FOLDER or ""))


def test_everything_is_there(real: SceneAssets) -> None:
    kinds = {item.kind for item in real.library.items.values()}
    assert kinds >= {"top", "bottom", "shoes", "hair", "eyes", "brows", "hat", "socks", "outfit"}
    assert len(real.backgrounds.panoramas) > 20 and len(real.backgrounds.photos) > 500


def test_no_mesh_explodes_in_moderate_poses(real: SceneAssets) -> None:
    generator = torch.Generator().manual_seed(0)
    for seed in range(12):
        character = Character(real.library, random_outfit(real.library, np.random.default_rng(seed)))
        turns = 0.35 * torch.randn(NUM_JOINTS, 3, generator=generator)
        rotations = matrix_from_axis_angle(turns).double().numpy()
        posed = character.pose(rotations, np.zeros(3)).vertices_m
        edges = [
            np.linalg.norm(np.diff(p[character.faces], axis=1), axis=-1) for p in (character.rest_m, posed)
        ]
        assert np.isfinite(posed).all()
        assert (edges[1] - edges[0]).max() < 0.12
        assert np.percentile(edges[1] - edges[0], 99) < 0.02


def test_clothes_and_hair_stay_near_the_body(real: SceneAssets) -> None:
    count = len(real.library.body.template_m)
    for seed in range(12):
        outfit = random_outfit(real.library, np.random.default_rng(seed))
        character = Character(real.library, outfit)
        posed = character.pose(np.tile(np.eye(3), (24, 1, 1)), np.zeros(3)).vertices_m
        low, high = posed[:count].min(0), posed[:count].max(0)
        assert (posed[count:] > low - 0.15).all() and (posed[count:] < high + 0.15).all()


def test_frames_are_lit_and_labelled(real: SceneAssets) -> None:
    still = np.tile(np.eye(3), (4, 22, 1, 1))
    poses = ClipPoses([MotionClip("still", still, np.tile([0, 0.93, 0], (4, 1)), 30.0)])
    augmenter = Augmenter(SceneConfig())
    seen, contrast = [], []
    for seed in range(30):
        frame = next(make_clip(real, poses, augmenter, seed, frames=1))
        person = frame.part_map > 0
        assert person.sum() > 300
        seen.append((frame.person.visibility == SEEN).mean())
        contrast.append(frame.image[person].std())
    assert np.mean(seen) > 0.4
    assert np.median(contrast) > 15
