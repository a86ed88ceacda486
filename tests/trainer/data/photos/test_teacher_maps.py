"""Heat maps of a teacher, carried into turned, cut and mirrored crops of the same photo."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinestream.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, NUM_KEYPOINTS
from kinestream.geometry.crop import CropTransform
from kinestream.networks.interface import RegressorConfig
from kinestream.networks.weight_files import save_weights
from kinestream.regress.network import RegressorNetwork
from kinestream.regress.regressor import REGRESSOR_FORMAT
from kinestream.trainer.data.crops.crop_sample import collate
from kinestream.trainer.data.photos.image_augment import random_similarity
from kinestream.trainer.data.photos.photos import PhotoCrops
from kinestream.trainer.data.photos.pseudo import PseudoLabels
from kinestream.trainer.data.photos.teacher_maps import TeacherMaps
from kinestream.trainer.losses.keypoints import _gaussian, heatmap_loss, taught_loss
from kinestream.trainer.prepare import teach_keypoints

WIDTH, STUDENT_PX, TEACHER_PX = 200, 96, 128


def points_px(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 180, (NUM_KEYPOINTS, 2))


def taught_by_truth(points: np.ndarray) -> TeacherMaps:
    """A teacher that sees the points exactly; its weights rise from 0.1 to 1."""
    view = CropTransform.around_box([*points.min(0), *points.max(0)], crop_px=TEACHER_PX)
    cells, grid = (view.to_crop(points) + 0.5) / 4 - 0.5, np.arange(TEACHER_PX // 4)
    squares = (grid - cells[:, :1]) ** 2, (grid - cells[:, 1:]) ** 2
    maps = np.exp(-0.5 * (squares[0][:, None, :] + squares[1][:, :, None]) / 1.25**2)
    scaled = np.round(255 * maps / maps.max((1, 2), keepdims=True)).astype(np.uint8)
    weight = np.linspace(0.1, 1, NUM_KEYPOINTS, dtype=np.float32)
    return TeacherMaps(("walks/00.jpg",), view.matrix[None], TEACHER_PX, scaled[None], weight[None])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_targets_lie_where_the_crop_shows_the_point(mirrored: bool, seed: int) -> None:
    points, rng = points_px(seed), np.random.default_rng(seed)
    maps, order = taught_by_truth(points), np.arange(NUM_KEYPOINTS)
    if mirrored:
        order = np.array(MIRROR_KEYPOINTS)
        points = points[order] * [-1, 1] + [WIDTH - 1, 0]
    matrix = random_similarity(rng, points, crop_px=STUDENT_PX, any_turn=1.0, truncate=0.5)
    targets = maps.in_crop(0, matrix, STUDENT_PX, mirrored_width=WIDTH if mirrored else None)
    cells = (points @ matrix[:, :2].T + matrix[:, 2] + 0.5) / 4 - 0.5
    last, grid = STUDENT_PX // 4 - 1, np.arange(STUDENT_PX // 4)
    inside = ((cells > 5) & (cells < last - 5)).all(1)
    outside = ((cells < -4) | (cells > last + 4)).any(1)
    assert inside.any()
    total = targets.sum((1, 2))
    np.testing.assert_allclose(total[inside], maps.weight[0, order][inside], rtol=1e-3)
    assert not total[outside].any()
    total = np.maximum(total, 1e-9)
    x, y = (targets * grid).sum((1, 2)) / total, (targets * grid[:, None]).sum((1, 2)) / total
    np.testing.assert_allclose(np.stack([x, y], 1)[inside], cells[inside], atol=0.1)


def test_peaks_keep_the_width_of_other_targets() -> None:
    points = points_px()
    view = CropTransform.around_box([*points.min(0), *points.max(0)], crop_px=STUDENT_PX)
    targets, grid = taught_by_truth(points).in_crop(0, view.matrix, STUDENT_PX), np.arange(STUDENT_PX // 4)
    total = targets.sum((1, 2))
    mean = (targets * grid).sum((1, 2)) / total
    std = np.sqrt((targets * (grid - mean[:, None, None]) ** 2).sum((1, 2)) / total)
    np.testing.assert_allclose(std, 1.25, rtol=0.06)


def test_a_label_that_a_sure_teacher_sees_elsewhere_disagrees() -> None:
    points = points_px()
    maps, labels = taught_by_truth(points), np.ones((NUM_KEYPOINTS, 3), np.float32)
    labels[:, :2] = points
    assert not maps.disagreeing(0, labels).any()
    labels[:, 0] += 40
    np.testing.assert_array_equal(maps.disagreeing(0, labels), maps.weight[0] >= 0.5)
    labels[:, 2] = 0
    assert not maps.disagreeing(0, labels).any()


def test_files_go_round_and_others_are_refused(tmp_path: Path) -> None:
    maps = taught_by_truth(points_px())
    maps.save(tmp_path / "maps.npz")
    again = TeacherMaps.load(tmp_path / "maps.npz")
    assert again.files == ("walks/00.jpg",)
    assert again.crop_px == TEACHER_PX
    np.testing.assert_array_equal(again.maps, maps.maps)
    np.savez(tmp_path / "other.npz", files=np.array(["a"]))
    with pytest.raises(ValueError, match="matrix"):
        TeacherMaps.load(tmp_path / "other.npz")


def test_taught_loss_is_the_heat_map_loss_of_a_sure_gaussian_teacher() -> None:
    torch.manual_seed(0)
    heatmaps = torch.randn(2, 3, 12, 12)
    keypoints = torch.rand(2, 3, 3) * 1.2 - 0.6
    keypoints[..., 2] = torch.rand(2, 3) + 1
    taught = _gaussian(keypoints[..., 1], 12)[..., :, None] * _gaussian(keypoints[..., 0], 12)[..., None, :]
    taught = taught * keypoints[..., 2, None, None]
    torch.testing.assert_close(taught_loss(heatmaps, taught), heatmap_loss(heatmaps, keypoints))
    assert taught_loss(heatmaps, torch.zeros_like(taught)) == 0


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = RegressorConfig(latent_size=4, backbone="tiny", crop_px=64)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(path, RegressorNetwork(config), kind=REGRESSOR_FORMAT, config=config.to_dict(), notes={})
    return path


def test_the_teacher_is_the_same_in_a_mirror(teacher: Path) -> None:
    network = teach_keypoints.load_network(teacher)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    shares, weight = teach_keypoints.teach(network, images, bfloat16=False)
    swapped, weight_swapped = teach_keypoints.teach(network, images.flip(-1), bfloat16=False)
    order = list(MIRROR_KEYPOINTS)
    torch.testing.assert_close(swapped.flip(-1)[:, order], shares)
    torch.testing.assert_close(weight_swapped[:, order], weight)
    torch.testing.assert_close(shares.sum((2, 3)), torch.ones(2, NUM_KEYPOINTS))


def test_photos_learn_from_the_file_the_command_writes(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "walks").mkdir(parents=True)
    (tmp_path / "pseudo").mkdir()
    landmarks = np.zeros((3, 33, 4), np.float16)
    landmarks[..., 0], landmarks[..., 1], landmarks[..., 3] = 50, np.linspace(12, 148, 33), 0.9
    files = [f"{i}.jpg" for i in range(3)]
    for file in files:
        cv2.imwrite(str(tmp_path / "images" / "walks" / file), np.full((160, 100, 3), 90, np.uint8))
    np.savez(
        tmp_path / "pseudo" / "walks.npz",
        files=np.array(files),
        size=np.tile(np.array([[100, 160]], np.int16), (3, 1)),
        detected=np.array([True, False, True]),
        image=landmarks,
        mask=np.zeros((3, 512), np.uint8),
        flip_err=np.full(3, 0.03, np.float16),
    )
    out = tmp_path / "maps.npz"
    teach_keypoints.main(data=tmp_path, out=out, photos=["walks"], model=str(teacher), bfloat16=False)
    maps = TeacherMaps.load(out)
    assert maps.files == ("walks/0.jpg", "walks/2.jpg")
    maps.weight[:] = 0.4  # too unsure to contradict a label
    labels = PseudoLabels.load(tmp_path / "pseudo" / "walks.npz")
    wrist = KEYPOINT_NAMES.index("left_wrist")
    crops = PhotoCrops(tmp_path / "images" / "walks", labels, crop_px=64, split="all", teacher=maps)
    batch = collate([crops.sample(np.random.default_rng(k)) for k in range(8)])
    assert batch.taught.shape == (8, NUM_KEYPOINTS, 16, 16)
    assert batch.taught[:, wrist].sum() > 1
    alone = PhotoCrops(tmp_path / "images" / "walks", labels, crop_px=64, split="all")
    assert not collate([alone.sample(np.random.default_rng(0))]).taught.any()
    maps.weight[:] = 1.0
    with pytest.raises(ValueError, match="no photo"):  # all labels are contradicted
        PhotoCrops(tmp_path / "images" / "walks", labels, crop_px=64, split="all", teacher=maps)
