"""Photos, machine labels, pools and frames, on small files written here."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, NUM_KEYPOINTS, PART_NAMES
from kinestream.regress.state_head import to_plane
from kinestream.trainer.data.crops.backdrops import Backdrops
from kinestream.trainer.data.crops.crop_pool import CropPool, EmptyCrops, create_pool
from kinestream.trainer.data.crops.crop_sample import (
    PART_PERSON,
    PART_UNKNOWN,
    CropSample,
    MixedCrops,
    collate,
)
from kinestream.trainer.data.crops.detection_frames import DetectionFrames, PhotoCutOuts, PoolCutOuts
from kinestream.trainer.data.photos.image_augment import (
    map_matrix,
    patterned,
    random_similarity,
    shuffled,
    turn_of,
    warp,
)
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS, load_lspet
from kinestream.trainer.data.photos.photos import PhotoCrops, crop_keypoints, mirrored
from kinestream.trainer.data.photos.pseudo import (
    HIP_WEIGHT,
    LANDMARK_OF_KEYPOINT,
    PseudoLabels,
    keypoints_from_landmarks,
)
from kinestream.trainer.losses.body import in_half_extents, with_hands

CROP = 64


@pytest.fixture(scope="module")
def backdrops() -> Backdrops:
    panorama = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    return Backdrops([panorama], side_px=96, views=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo set `walks`: a bright bar on black, landmarks along the bar, silhouette = bar."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images" / "walks").mkdir(parents=True)
    (folder / "pseudo").mkdir()
    files, count = [f"{i:02d}.jpg" for i in range(12)], 12
    landmarks = np.zeros((count, 33, 4), np.float16)
    landmarks[..., 0], landmarks[..., 1] = 50, np.linspace(12, 148, 33)
    landmarks[..., 3] = 0.9
    landmarks[:, 15, 3] = 0.2  # left wrist hidden
    mask = np.zeros((count, 64, 64), bool)
    mask[:, 4:60, 24:40] = True
    for file in files:
        image = np.zeros((160, 100, 3), np.uint8)
        image[10:150, 38:62] = 200
        cv2.imwrite(str(folder / "images" / "walks" / file), image)
    np.savez(
        folder / "pseudo" / "walks.npz",
        files=np.array(files),
        size=np.tile(np.array([[100, 160]], np.int16), (count, 1)),
        detected=np.arange(count) != 3,
        image=landmarks,
        mask=np.packbits(mask.reshape(count, -1), axis=1),
        flip_err=np.where(np.arange(count) == 5, 9.0, 0.03).astype(np.float16),
    )
    return folder


def make_pool(folder: Path, count: int = 3, side: int = 80) -> Path:
    """Bodies posed by chance, drawn as their keypoints' filled hull."""
    arrays = create_pool(folder, count, side)
    body = BodyModel.load()
    rng = np.random.default_rng(1)
    for row in range(count):
        rotations = np.tile(np.eye(3, dtype=np.float32), (22, 1, 1))
        rotations[0] = np.diag([1, -1, -1])
        translation = np.array([0.2 * rng.normal(), 0.1, 4.0], np.float32)
        betas = rng.normal(0, 0.5, 10).astype(np.float32)
        _, keypoints = body.skeleton(
            torch.from_numpy(betas)[None],
            with_hands(torch.from_numpy(rotations)[None]),
            torch.from_numpy(translation)[None],
        )
        camera = np.array([120.0, 120.0, 40.0 - 20 * translation[0], 36.0], np.float32)
        points = keypoints[0].numpy()
        pixels = points[:, :2] / points[:, 2:] * camera[:2] + camera[2:]
        mask = np.zeros((side, side), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(pixels.astype(np.int32)), 255)
        arrays["rgba"][row] = np.dstack([mask // 2, mask // 3, mask, mask])
        arrays["parts"][row] = (mask[::2, ::2] > 0) * 7
        arrays["keypoints"][row] = np.concatenate([pixels, np.ones((NUM_KEYPOINTS, 1))], 1)
        arrays["rotations"][row], arrays["translation_m"][row] = rotations, translation
        arrays["betas"][row], arrays["camera"][row] = betas, camera
    for array in arrays.values():
        array.flush()
    return folder


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pool(tmp_path_factory.mktemp("pool") / "train")


def test_landmarks_go_to_the_keypoints_of_their_name() -> None:
    landmarks = np.zeros((1, 33, 4))
    landmarks[0, :, 0] = np.arange(33)
    landmarks[0, :, 3] = 1.0
    keypoints = keypoints_from_landmarks(landmarks, np.array([0.5]))
    for name, landmark in LANDMARK_OF_KEYPOINT.items():
        row = KEYPOINT_NAMES.index(name)
        assert keypoints[0, row, 0] == landmark
        assert keypoints[0, row, 2] == pytest.approx(0.5 * (HIP_WEIGHT if "hip" in name else 1.0))
    small_toe = KEYPOINT_NAMES.index("left_small_toe")
    assert keypoints[0, small_toe, 2] == 0


def test_undetected_and_doubtful_photos_are_left_out(data: Path) -> None:
    labels = PseudoLabels.load(data / "pseudo" / "walks.npz")
    assert len(labels) == 10
    assert "03.jpg" not in labels.files
    assert "05.jpg" not in labels.files
    assert labels.masks.shape == (10, 64, 64)
    hidden = KEYPOINT_NAMES.index("left_wrist")
    assert (labels.keypoints[:, hidden, 2] == 0).all()
    with pytest.raises(FileNotFoundError, match="pseudo_label"):
        PseudoLabels.load(data / "missing.npz")


def test_photo_crops_follow_their_labels(data: Path, backdrops: Backdrops) -> None:
    crops = PhotoCrops.load(data, "walks", crop_px=CROP, backdrops=backdrops)
    held_out = PhotoCrops.load(data, "walks", crop_px=CROP, split="val")
    assert (len(crops), len(held_out)) == (9, 1)
    rng = np.random.default_rng(0)
    seen = np.zeros(3, np.int64)
    for _ in range(30):
        sample = crops.sample(rng)
        assert sample.image.shape == (CROP, CROP, 3)
        assert sample.parts.shape == (CROP // 4, CROP // 4)
        assert set(np.unique(sample.parts)) <= {0, PART_PERSON, PART_UNKNOWN}
        used = sample.keypoints[:, 2] > 0
        assert (np.abs(sample.keypoints[used, :2]) < 1).all()
        assert (sample.known | ~used).all()
        cells = ((sample.keypoints[used, :2] + 1) * CROP / 8).astype(int)
        values = sample.parts[cells[:, 1], cells[:, 0]]
        seen += [(values == PART_PERSON).sum(), (values == 0).sum(), len(values)]
    assert seen[0] > 0.75 * seen[2]  # the rest is cut, occluded or at the silhouette's rim
    assert sample.presence


def test_part_labels_are_kept_inside_the_silhouette_and_change_sides_in_the_mirror(data: Path) -> None:
    labels = PseudoLabels.load(data / "pseudo" / "walks.npz")
    arm, other = (1 + PART_NAMES.index(name) for name in ("l_upper_arm", "r_upper_arm"))
    parts = np.zeros((len(labels), 64, 64), np.uint8)
    parts[:, :40, :34] = arm  # the upper left of the bar, and of the background
    crops = PhotoCrops(data / "images" / "walks", replace(labels, parts=parts), crop_px=CROP)
    rng = np.random.default_rng(0)
    found = [set(np.unique(crops.sample(rng).parts)) for _ in range(12)]
    assert set.union(*found) == {0, PART_PERSON, PART_UNKNOWN, arm, other}
    assert not any({arm, other} <= one for one in found)


def test_keypoints_beyond_picture_or_crop_are_known_but_not_taught() -> None:
    keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    keypoints[:4] = [[50, 50, 1.0], [120, 50, 1.0], [5, 5, 1.0], [50, 50, 0.0]]
    matrix = np.array([[1.0, 0, -20], [0, 1.0, -20]])
    points, known = crop_keypoints(keypoints, matrix, CROP, (100, 100))
    assert points[:4, 2].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert known[:4].tolist() == [True, True, True, False]
    np.testing.assert_allclose(points[0, :2], (30 + 0.5) * 2 / CROP - 1)


def test_mirror_twice_is_the_identity() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (7, 9, 3), np.uint8)
    keypoints = rng.uniform(0, 7, (NUM_KEYPOINTS, 3)).astype(np.float32)
    mask = rng.random((64, 64)) > 0.5
    once = mirrored(image, keypoints, mask)
    np.testing.assert_allclose(once[1][:, 2], keypoints[list(MIRROR_KEYPOINTS), 2])
    for a, b in zip(mirrored(*once), (image, keypoints, mask), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_similarity_frames_the_points_and_is_a_turn_of_the_camera() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(100, 300, (NUM_KEYPOINTS, 2))
    for _ in range(20):
        matrix = random_similarity(rng, points, crop_px=CROP, truncate=0.0)
        mapped = points @ matrix[:, :2].T + matrix[:, 2]
        assert np.ptp(mapped, axis=0).max() > 0.4 * CROP
        turn = turn_of(matrix)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_label_map_lies_under_the_crop() -> None:
    picture = np.zeros((80, 80), np.uint8)
    picture[20:50, 30:62] = 255
    matrix = np.array([[0.8, 0.0, 3.0], [0.0, 0.8, -2.0]])
    crop = warp(picture, matrix, CROP)
    small = cv2.warpAffine(
        picture[::2, ::2].copy(), map_matrix(matrix, picture_scale=2.0, stride=4), (16, 16)
    )
    blocks = crop.reshape(16, 4, 16, 4).mean((1, 3))
    sure = (blocks < 5) | (blocks > 250)
    assert ((small > 127) == (blocks > 127))[sure].mean() > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_pool_body_projects_onto_its_keypoints(pool: Path, backdrops: Backdrops, seed: int) -> None:
    """Through any crop, turn and mirror: body, camera and keypoints stay one."""
    rng = np.random.default_rng(seed)
    samples = [CropPool(pool, backdrops, crop_px=CROP).sample(rng) for _ in range(6)]
    batch = collate(samples)
    assert batch.has_body.all()
    _, keypoints = BodyModel.load().skeleton(batch.betas, with_hands(batch.rotations), batch.translation_m)
    expected = to_plane(batch.keypoints[..., :2], batch.to_virtual)
    torch.testing.assert_close(in_half_extents(keypoints, batch.log_extent), expected, atol=5e-3, rtol=0)


def test_samples_are_those_of_the_generator(pool: Path, backdrops: Backdrops) -> None:
    source = MixedCrops(
        [(CropPool(pool, backdrops, crop_px=CROP), 1.0), (EmptyCrops(backdrops, crop_px=CROP), 1.0)]
    )
    a, b = (source.sample(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.keypoints, b.keypoints)
    rng = np.random.default_rng(0)
    share = np.mean([source.sample(rng).presence for _ in range(40)])
    assert 0.25 < share < 0.75


def test_empty_crops_have_nobody(backdrops: Backdrops) -> None:
    sample: CropSample = EmptyCrops(backdrops, crop_px=CROP).sample(np.random.default_rng(0))
    assert not sample.presence
    assert sample.known.all()
    assert not sample.parts.any()
    assert not collate([sample]).has_body.any()


def test_frames_have_boxes_around_what_was_pasted(data: Path, pool: Path, backdrops: Backdrops) -> None:
    labels = PseudoLabels.load(data / "pseudo" / "walks.npz")
    cut_outs = [(PoolCutOuts(pool), 1.0), (PhotoCutOuts(data / "images" / "walks", labels), 1.0)]
    frames = DetectionFrames(cut_outs, backdrops)
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(25):
        image, boxes = frames.sample(rng, shape=(96, 128))
        assert image.shape == (96, 128, 3)
        counts.append(len(boxes))
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= 128).all()
        assert (boxes[:, 3] <= 96).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) > 1).all()
    assert min(counts) == 0
    assert max(counts) >= 2


def test_missing_data_is_named(tmp_path: Path, backdrops: Backdrops) -> None:
    with pytest.raises(FileNotFoundError, match="crop pool"):
        CropPool(tmp_path, backdrops, crop_px=CROP)
    with pytest.raises(FileNotFoundError, match="panorama"):
        Backdrops.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"labels\.json"):
        load_lspet(tmp_path)
    with pytest.raises(ValueError, match="weights"):
        MixedCrops([])


def test_lspet_layout(tmp_path: Path) -> None:
    names = [*LIMB_JOINTS, "neck", "head_top"]
    joints = [[float(i), 2.0 * i, 2] for i in range(14)]
    joints[3] = [0.0, 0.0, 0]
    record = {"file": "im1.jpg", "width": 9, "height": 9, "joints": joints}
    other = {**record, "file": "im2.jpg"}
    import json

    (tmp_path / "labels.json").write_text(json.dumps({"joint_names": names, "images": [record, other]}))
    (tmp_path / "val.txt").write_text("im2.jpg\n")
    (photo,) = load_lspet(tmp_path)
    assert photo.path.name == "im2.jpg"
    assert photo.labelled.sum() == 11
    expected = np.mean([np.hypot(7, 14), np.hypot(5, 10)])
    assert photo.torso_px == pytest.approx(expected)
    assert len(load_lspet(tmp_path, split=None)) == 2


def test_a_pattern_repaints_parts_and_leaves_the_rest() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[8:56, 8:56] = (90, 100, 110, 255)
    rgba[8, 8:56] = (45, 50, 55, 128)  # an edge, half covered
    labels = np.zeros((32, 32), np.uint8)
    labels[4:28, 4:28] = np.repeat(np.arange(1, 13, dtype=np.uint8), 2)[:, None]
    changed_anywhere = np.zeros((64, 64), bool)
    for seed in range(12):
        result = patterned(np.random.default_rng(seed), rgba, labels)
        np.testing.assert_array_equal(result[..., 3], rgba[..., 3])
        assert (result[..., :3] <= result[..., 3:]).all()  # colour stays multiplied by coverage
        changed = (result != rgba).any(-1)
        assert changed.any()
        assert not changed[8:12, 12:52].any()  # the head keeps its face
        changed_anywhere |= changed
    assert not changed_anywhere[:8].any()


def test_any_turn_turns_pictures_over() -> None:
    points = np.array([[10.0, 10.0], [30.0, 60.0]])
    rng = np.random.default_rng(0)
    turns = [random_similarity(rng, points, crop_px=64, any_turn=1.0) for _ in range(50)]
    upside_down = sum(matrix[1, 1] < 0 for matrix in turns)
    assert 10 < upside_down < 40
    upright = [random_similarity(rng, points, crop_px=64, any_turn=0.0) for _ in range(50)]
    assert all(matrix[1, 1] > 0 for matrix in upright)


def test_whole_photos_keep_their_boxes(data: Path, backdrops: Backdrops) -> None:
    photos = PhotoCutOuts(data / "images" / "walks", PseudoLabels.load(data / "pseudo" / "walks.npz"))
    image, box = photos.whole(np.random.default_rng(0))
    assert image.shape == (160, 100, 3)
    np.testing.assert_allclose(box, [37.5, 10.0, 62.5, 150.0])
    frames = DetectionFrames([(photos, 1.0)], backdrops)
    rng = np.random.default_rng(3)
    for _ in range(30):
        frame, boxes = frames._whole_photo(rng, photos, (64, 96))
        assert frame.shape == (64, 96, 3)
        assert len(boxes) <= 1
        if len(boxes):
            x, y = ((boxes[0, :2] + boxes[0, 2:]) / 2).astype(int)
            assert frame[y, x].mean() > 60  # the bright bar is there


def test_crops_of_nobody_come_in_all_kinds(backdrops: Backdrops, tmp_path: Path) -> None:
    people = CropPool(make_pool(tmp_path / "pool"), backdrops, crop_px=CROP)
    nobody = EmptyCrops(backdrops, crop_px=CROP, people=people)
    rng = np.random.default_rng(0)
    samples = [nobody.sample(rng) for _ in range(20)]
    assert not any(sample.presence or sample.parts.any() for sample in samples)
    assert all(sample.known.all() and not sample.keypoints.any() for sample in samples)
    assert len({sample.image.tobytes() for sample in samples}) == 20


def test_shuffling_keeps_pixels_and_moves_them() -> None:
    image = np.arange(60 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(60, 60, 3)
    result = shuffled(np.random.default_rng(1), image)
    assert (result != image).any()
    np.testing.assert_array_equal(np.sort(result, axis=None), np.sort(image, axis=None))
