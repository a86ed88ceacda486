"""The maker of the demo clip."""

from pathlib import Path

import numpy as np
import pytest

from kinestream.tools.pictures.demo_clip import find_motion, ground_truth
from kinestream.tools.pictures.video import write_video
from kinestream.trainer.data.motion.clip import MotionClip
from kinestream.trainer.data.motion.mocap_cache import MocapCache
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.stage import SceneAssets


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
