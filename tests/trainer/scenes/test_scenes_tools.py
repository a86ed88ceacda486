"""The sheets that people look at, and the maker of the demo clip."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.body.model import BodyModel
from kinestream.tools.pictures.contact_sheet import CELL_PX, CELLS, render_cell
from kinestream.tools.pictures.demo_clip import find_motion, ground_truth
from kinestream.tools.pictures.scene_sheet import draw_keypoints, draw_parts, frame_cell
from kinestream.tools.pictures.sheet import write_sheet
from kinestream.tools.pictures.video import write_video
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import HIDDEN, OUTSIDE, SEEN
from kinestream.trainer.scenes.stage import SceneAssets


def test_body_cells_show_a_body_in_every_pose() -> None:
    model = BodyModel.load()
    assert len({cell.title for cell in CELLS}) == len(CELLS)
    for cell in (CELLS[0], CELLS[7]):
        plain, parts = render_cell(model, cell), render_cell(model, cell, parts=True)
        assert plain.shape == parts.shape == (CELL_PX, CELL_PX, 3)
        drawn = (plain != 244).any(-1)
        assert 0.03 < drawn.mean() < 0.5
        shades = np.unique(parts.reshape(-1, 3), axis=0)
        assert len(shades) > len(np.unique(plain.reshape(-1, 3), axis=0)) / 4


def test_sheets_fill_the_last_row_with_white(tmp_path: Path) -> None:
    cells = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    write_sheet(tmp_path / "sheet.png", cells, columns=2)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (8, 12, 3)
    assert sheet[0, 11, 0] == 20 and sheet[7, 0, 0] == 30 and sheet[7, 11, 0] == 255


def test_labels_are_drawn_where_they_are() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    keypoints, visibility = np.full((23, 2), 50.0), np.full(23, OUTSIDE)
    keypoints[0], visibility[0] = (10, 20), SEEN
    keypoints[9], visibility[9] = (30, 40), HIDDEN
    draw_keypoints(image, keypoints, visibility)
    assert image[20, 10].argmax() == 1 and image[40, 30].argmax() == 0
    assert not image[45:].any()
    parts = np.zeros((60, 60), np.uint8)
    parts[5, 5] = 3
    changed = (draw_parts(image, parts) != image).any(-1)
    assert changed[5, 5] and changed.sum() == 1


def test_scene_cells(assets: SceneAssets, poses: ClipPoses) -> None:
    augmenter = Augmenter(SceneConfig(image_sizes_px=((160, 120),)))
    frame = next(make_clip(assets, poses, augmenter, 1, frames=1))
    plain, cell = (frame_cell(frame, (80, 80), labels=labels) for labels in (False, True))
    assert (plain != cell).any()
    assert cell.shape == (80, 80, 3) and (cell[61:] == 30).all() and (cell[:60] != 30).any()


def test_demo_motion_is_found_by_name(motion_clip: MotionClip) -> None:
    cache = MocapCache.from_clips([motion_clip])
    assert find_motion(cache, "walk", 0.5, 1.0).duration_s == pytest.approx(1.0, abs=0.02)
    with pytest.raises(ValueError, match=r"no motion 'run'.*walk"):
        find_motion(cache, "run", 0, 1)
    with pytest.raises(ValueError, match=r"lasts 2\.0 s; asked for 9\.0 s"):
        find_motion(cache, "walk", 0, 9)


def test_demo_truth_has_a_row_per_frame(assets: SceneAssets, poses: ClipPoses, tmp_path: Path) -> None:
    config = SceneConfig(image_sizes_px=((960, 540),), samples=1)
    frames = list(make_clip(assets, poses, Augmenter(config), 1, frames=3))
    truth = ground_truth(frames, {"motion": "walk"})
    assert truth["joints_cam_m"].shape == (3, 24, 3) and truth["rotations"].dtype == np.float16
    np.testing.assert_array_equal(truth["intrinsics"], frames[0].camera.K)
    images = (frame.image for frame in frames)
    write_video(tmp_path / "clip.mp4", images, fps=30, codec="libx264", options={"crf": "30"})
    assert (tmp_path / "clip.mp4").stat().st_size > 1000
