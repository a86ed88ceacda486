"""Scenes: determinism, and labels that fit the picture and the body model."""

import dataclasses

import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES, PART_NAMES
from kinestream.geometry.rotation import random_rotations
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.outfit import Outfit, Worn, random_outfit
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import HIDDEN, OUTSIDE, SEEN, Frame
from kinestream.trainer.scenes.stage import SceneAssets

SEEDS = range(12)
CLEAN = SceneConfig.clean()


def frame_of(assets: SceneAssets, poses: ClipPoses, seed: int, config: SceneConfig = CLEAN) -> Frame:
    """First frame of the clip with a seed, small."""
    small = dataclasses.replace(config, image_sizes_px=((320, 240),))
    return next(make_clip(assets, poses, Augmenter(small), seed, frames=1))


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.mark.parametrize("seed", range(3))
def test_posed_character_is_the_body_model(assets: SceneAssets, body: BodyModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    outfit = random_outfit(assets.library, rng)
    rotations = random_rotations((24,), generator=torch.Generator().manual_seed(seed)).double().numpy()
    translation = rng.normal(size=3)
    posed = Character(assets.library, outfit).pose(rotations, translation)
    expected = body(
        torch.from_numpy(outfit.betas)[None],
        torch.from_numpy(rotations).float()[None],
        torch.from_numpy(translation).float()[None],
    )
    count = len(expected.vertices_m[0])
    np.testing.assert_allclose(posed.joints_m, expected.joints_m[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(posed.keypoints_m, expected.keypoints_m[0].numpy(), atol=2e-4)
    np.testing.assert_allclose(posed.vertices_m[:count], expected.vertices_m[0].numpy(), atol=2e-4)


def test_garment_stays_on_the_body_and_hides_it(assets: SceneAssets) -> None:
    outfit = Outfit(
        np.zeros(10, np.float32), "skin.png", (1, 1, 1), (Worn("shirt", "shirt.png", (200, 0, 0)),)
    )
    dressed = Character(assets.library, outfit)
    naked = Character(assets.library, Outfit(outfit.betas, outfit.skin, outfit.skin_tint, ()))
    count = len(assets.library.body.template_m)
    assert (dressed.face_material == 0).sum() < (naked.face_material == 0).sum()
    rotations = random_rotations((24,), generator=torch.Generator().manual_seed(5)).double().numpy()
    posed = dressed.pose(rotations, np.zeros(3)).vertices_m
    under = posed[assets.library.items["shirt"].bind_index[:, 0]]
    assert np.linalg.norm(posed[count:] - under, axis=1).max() < 0.02


def test_frame_has_shapes_and_types(assets: SceneAssets, poses: ClipPoses) -> None:
    frame = frame_of(assets, poses, 1, SceneConfig())
    arrays = {"image": frame.image, "part_map": frame.part_map, **vars(frame.person)}
    expected = {
        "image": ((240, 320, 3), np.uint8),
        "part_map": ((240, 320), np.uint8),
        "rotations": ((24, 3, 3), np.float32),
        "betas": ((10,), np.float32),
        "translation_m": ((3,), np.float32),
        "joints_cam_m": ((24, 3), np.float32),
        "keypoints_cam_m": ((23, 3), np.float32),
        "keypoints_px": ((23, 2), np.float32),
        "visibility": ((23,), np.uint8),
        "box_xyxy_px": ((4,), np.float32),
    }
    assert {key: (value.shape, value.dtype.type) for key, value in arrays.items()} == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_reproduce_the_person(
    assets: SceneAssets, poses: ClipPoses, body: BodyModel, seed: int
) -> None:
    frame = frame_of(assets, poses, seed, SceneConfig())
    person, camera = frame.person, frame.camera
    posed = body(*(torch.from_numpy(x)[None] for x in (person.betas, person.rotations, person.translation_m)))
    np.testing.assert_allclose(posed.joints_m[0].numpy(), person.joints_cam_m, atol=1e-4)
    np.testing.assert_allclose(posed.keypoints_m[0].numpy(), person.keypoints_cam_m, atol=2e-4)
    np.testing.assert_allclose(person.joints_cam_m[0], person.translation_m, atol=1e-5)
    pixels = camera.project(person.keypoints_cam_m)
    np.testing.assert_allclose(person.keypoints_px, pixels, atol=1e-2)
    matrix = person.rotations
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.tile(np.eye(3), (24, 1, 1)), atol=1e-5)


def test_seen_keypoints_lie_on_their_part(assets: SceneAssets, poses: ClipPoses) -> None:
    allowed = {
        "nose": ("head",),
        "left_elbow": ("l_upper_arm", "l_forearm"),
        "right_elbow": ("r_upper_arm", "r_forearm"),
        "left_knee": ("l_thigh", "l_shin"),
        "right_knee": ("r_thigh", "r_shin"),
        "left_ankle": ("l_shin", "l_foot"),
        "right_ankle": ("r_shin", "r_foot"),
    }
    right = total = 0
    for seed in range(40):
        frame = frame_of(assets, poses, seed)
        for name, parts in allowed.items():
            index = KEYPOINT_NAMES.index(name)
            if frame.person.visibility[index] == SEEN:
                x, y = np.round(frame.person.keypoints_px[index]).astype(int)
                total += 1
                right += int(frame.part_map[y, x]) - 1 in [PART_NAMES.index(part) for part in parts]
    assert total > 100
    assert right / total > 0.9


def test_face_is_hidden_from_behind(assets: SceneAssets, poses: ClipPoses) -> None:
    nose = KEYPOINT_NAMES.index("nose")
    states = {True: set(), False: set()}
    for seed in range(60):
        person = frame_of(assets, poses, seed).person
        if person.visibility[nose] == OUTSIDE:
            continue
        pelvis_to_camera = -person.translation_m / np.linalg.norm(person.translation_m)
        facing = float(person.rotations[0, :, 2] @ pelvis_to_camera)
        if abs(facing) > 0.8:
            states[facing > 0].add(int(person.visibility[nose]))
    assert states[False] == {HIDDEN}
    assert SEEN in states[True]


def test_configs_are_checked() -> None:
    with pytest.raises(ValueError, match="jpeg_share is a probability"):
        SceneConfig(jpeg_share=1.5)
    with pytest.raises(ValueError, match=r"fov_deg must be \(low, high\)"):
        SceneConfig(fov_deg=(90, 30))
    with pytest.raises(ValueError, match="samples >= 1"):
        SceneConfig(samples=0)
