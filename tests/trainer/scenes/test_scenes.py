"""Scenes: determinism, and labels that fit the picture and the body model."""

import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES, PART_NAMES
from kinestream.geometry.rotation import random_rotations
from kinestream.trainer.scenes.character import Character
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.generator import SceneGenerator
from kinestream.trainer.scenes.outfit import Outfit, Worn, random_outfit
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import HIDDEN, OUTSIDE, SEEN, PersonLabels, Sample
from kinestream.trainer.scenes.stage import SceneAssets

SEEDS = range(12)


def arrays_of(sample: Sample) -> dict[str, np.ndarray]:
    """Picture and labels of a crop by name."""
    return {
        "image": sample.image,
        "part_map": sample.part_map,
        "keypoints_crop_px": sample.keypoints_crop_px,
        **vars(sample.person),
    }


@pytest.fixture(scope="module")
def generator(assets: SceneAssets, poses: ClipPoses) -> SceneGenerator:
    return SceneGenerator(assets, poses, SceneConfig())


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


def test_same_seed_same_picture_whatever_came_before(assets: SceneAssets, poses: ClipPoses) -> None:
    first, second = (SceneGenerator(assets, poses) for _ in range(2))
    wanted = {seed: arrays_of(first.crop(seed)) for seed in (3, 5, 7)}
    second.frame(1)
    for seed in (7, 3, 5):
        for key, value in arrays_of(second.crop(seed)).items():
            np.testing.assert_array_equal(value, wanted[seed][key], err_msg=f"{key} of seed {seed}")
    assert (wanted[3]["image"] != wanted[5]["image"]).mean() > 0.5


def test_crop_has_shapes_and_types(generator: SceneGenerator) -> None:
    arrays = arrays_of(generator.crop(1))
    expected = {
        "image": ((256, 256, 3), np.uint8),
        "part_map": ((256, 256), np.uint8),
        "rotations": ((24, 3, 3), np.float32),
        "betas": ((10,), np.float32),
        "translation_m": ((3,), np.float32),
        "joints_cam_m": ((24, 3), np.float32),
        "keypoints_cam_m": ((23, 3), np.float32),
        "keypoints_px": ((23, 2), np.float32),
        "keypoints_crop_px": ((23, 2), np.float32),
        "visibility": ((23,), np.uint8),
        "box_xyxy_px": ((4,), np.float32),
    }
    assert {key: (value.shape, value.dtype.type) for key, value in arrays.items()} == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_reproduce_the_person(generator: SceneGenerator, body: BodyModel, seed: int) -> None:
    sample = generator.crop(seed)
    person, camera = sample.person, sample.camera
    posed = body(*(torch.from_numpy(x)[None] for x in (person.betas, person.rotations, person.translation_m)))
    np.testing.assert_allclose(posed.joints_m[0].numpy(), person.joints_cam_m, atol=1e-4)
    np.testing.assert_allclose(posed.keypoints_m[0].numpy(), person.keypoints_cam_m, atol=2e-4)
    np.testing.assert_allclose(person.joints_cam_m[0], person.translation_m, atol=1e-5)
    pixels = camera.project(person.keypoints_cam_m)
    np.testing.assert_allclose(person.keypoints_px, pixels, atol=1e-2)
    np.testing.assert_allclose(sample.keypoints_crop_px, sample.crop.to_crop(pixels), atol=0.05)
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
    generator = SceneGenerator(assets, poses, SceneConfig.clean())
    right = total = 0
    for seed in range(40):
        sample = generator.crop(seed)
        for name, parts in allowed.items():
            index = KEYPOINT_NAMES.index(name)
            if sample.person.visibility[index] == SEEN:
                x, y = np.round(sample.keypoints_crop_px[index]).astype(int)
                total += 1
                right += int(sample.part_map[y, x]) - 1 in [PART_NAMES.index(part) for part in parts]
    assert total > 100
    assert right / total > 0.9


def test_face_is_hidden_from_behind(assets: SceneAssets, poses: ClipPoses) -> None:
    nose = KEYPOINT_NAMES.index("nose")
    generator = SceneGenerator(assets, poses, SceneConfig.clean())
    states = {True: set(), False: set()}
    for seed in range(60):
        person = generator.crop(seed).person
        if person.visibility[nose] == OUTSIDE:
            continue
        pelvis_to_camera = -person.translation_m / np.linalg.norm(person.translation_m)
        facing = float(person.rotations[0, :, 2] @ pelvis_to_camera)
        if abs(facing) > 0.8:
            states[facing > 0].add(int(person.visibility[nose]))
    assert states[False] == {HIDDEN}
    assert SEEN in states[True]


@pytest.mark.parametrize("seed", SEEDS)
def test_outside_of_the_picture_is_black_and_unlabelled(generator: SceneGenerator, seed: int) -> None:
    sample = generator.crop(seed)
    rows, columns = np.mgrid[:256, :256]
    full = sample.crop.to_full(np.stack([columns, rows], -1))
    size = np.array([sample.camera.width_px, sample.camera.height_px])
    outside = ((full < -0.51) | (full > size - 0.49)).any(-1)
    assert (sample.image[outside] == 0).all() and (sample.part_map[outside] == 0).all()
    assert (sample.person.visibility[_outside(sample.person, size)] == OUTSIDE).all()
    assert sample.part_map.any() and (sample.person.visibility > OUTSIDE).any()
    box = sample.person.box_xyxy_px
    assert (box[:2] >= -0.5).all() and (box[2:] <= size - 0.5).all() and (box[2:] > box[:2]).all()


def _outside(person: PersonLabels, size: np.ndarray) -> np.ndarray:
    return ((person.keypoints_px < -0.5) | (person.keypoints_px > size - 0.5)).any(-1)


def test_frame_shows_everybody_on_one_floor(assets: SceneAssets, poses: ClipPoses) -> None:
    generator = SceneGenerator(assets, poses, SceneConfig(image_sizes_px=((320, 240),), roll_sigma_deg=0.0))
    several = 0
    for seed in range(6):
        frame = generator.frame(seed, people=3)
        several += len(frame.people) > 1
        assert frame.image.shape == (240, 320, 3)
        assert frame.person_map.max() <= len(frame.people)
        np.testing.assert_array_equal(frame.person_map > 0, frame.part_map > 0)
        for number, person in enumerate(frame.people):
            rows, columns = np.nonzero(frame.person_map == number + 1)
            x0, y0, x1, y1 = person.box_xyxy_px
            if len(rows):
                assert x0 - 2 <= columns.min() and columns.max() <= x1 + 2
                assert y0 - 2 <= rows.min() and rows.max() <= y1 + 2
    assert several >= 3


def test_occluders_hide_keypoints_and_parts(assets: SceneAssets, poses: ClipPoses) -> None:
    plain = SceneGenerator(assets, poses, SceneConfig.clean())
    changed = 0
    hidden_config = SceneConfig(**{**vars(SceneConfig.clean()), "occluder_share": 1.0})
    covered = SceneGenerator(assets, poses, hidden_config)
    for seed in range(15):
        before, after = plain.crop(seed), covered.crop(seed)
        assert (after.part_map > 0).sum() <= (before.part_map > 0).sum()
        assert ((after.person.visibility == SEEN) <= (before.person.visibility == SEEN)).all()
        changed += (after.part_map != before.part_map).any()
        np.testing.assert_array_equal(after.person.joints_cam_m, before.person.joints_cam_m)
    assert changed >= 10


def test_configs_are_checked() -> None:
    with pytest.raises(ValueError, match="jpeg_share is a probability"):
        SceneConfig(jpeg_share=1.5)
    with pytest.raises(ValueError, match=r"fov_deg must be \(low, high\)"):
        SceneConfig(fov_deg=(90, 30))
    with pytest.raises(ValueError, match="crop_px >= 16"):
        SceneConfig(crop_px=4)
