"""Recorded observations: the truth of the clip beside what a stand-in for the regressor said of it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from kinestream.body.arrays import read_body
from kinestream.filtering.temporal_lifter import LAGS_S
from kinestream.geometry.camera import Camera
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.regress.observation import Observations
from kinestream.tracking.poser import BodyPoser
from kinestream.trainer.dynamics.evidence import seen_frames
from kinestream.trainer.dynamics.keypoint_windows import random_windows
from kinestream.trainer.dynamics.recorded_observations import RecordedObservations
from kinestream.trainer.prepare.record_observations import (
    MOMENTS,
    MOMENTS_HZ,
    ObservationRecorder,
    true_pose,
)
from kinestream.trainer.scenes.augment import Augmenter
from kinestream.trainer.scenes.clips import make_clip
from kinestream.trainer.scenes.config import SceneConfig
from kinestream.trainer.scenes.poses import ClipPoses
from kinestream.trainer.scenes.sample import Frame
from kinestream.trainer.scenes.stage import SceneAssets

FRAMES = 6
CONFIG = SceneConfig(**{**vars(SceneConfig.clean()), "image_sizes_px": ((192, 144),), "samples": 1})


class Clairvoyant:
    """Knows the truth of each frame, says it a little wrong, and is blind in some frames."""

    def __init__(self, frames: list[Frame], flow: PoseFlow, *, blind: frozenset[int]) -> None:
        self._frames, self._flow, self._blind = frames, flow, blind
        self.boxes: list[np.ndarray] = []

    def __call__(self, image_rgb: np.ndarray, boxes_xyxy_px: np.ndarray, camera: Camera) -> Observations:
        index = len(self.boxes)
        self.boxes.append(np.asarray(boxes_xyxy_px[0]))
        person = self._frames[index].person
        z, root = true_pose(person, self._flow)
        sure = np.full((23, 1), 0.9, np.float32)
        return Observations(
            presence=np.float32([0.1 if index in self._blind else 0.9]),
            keypoints_px=np.concatenate([person.keypoints_px, sure], 1)[None],
            covariance_px2=np.tile(np.float32([9, 2, 4]), (1, 23, 1)),
            z=z[None] + np.float32(0.3),
            z_std=np.full((1, 63), 0.4, np.float32),
            root_quat_wxyz=root[None],
            root_std_rad=np.float32([0.2]),
            translation_m=person.translation_m[None],
            translation_std_m=np.full((1, 3), 0.1, np.float32),
            betas=np.zeros((1, 10), np.float32),
            betas_std=np.ones((1, 10), np.float32),
        )


@pytest.fixture(scope="module")
def frames(assets: SceneAssets, poses: ClipPoses) -> list[Frame]:
    return list(make_clip(assets, poses, Augmenter(CONFIG), 3, frames=FRAMES))


@pytest.fixture(scope="module")
def recording(frames: list[Frame]) -> Callable[..., tuple[Clairvoyant, ObservationRecorder]]:
    torch.manual_seed(0)
    flow = PoseFlow(FlowConfig(depth=1, hidden=8)).eval().requires_grad_(False)
    poser = BodyPoser(read_body(), FlowDecoder(flow))

    def make(*, blind: tuple[int, ...] = ()) -> tuple[Clairvoyant, ObservationRecorder]:
        regressor = Clairvoyant(frames, flow, blind=frozenset(blind))
        return regressor, ObservationRecorder(regressor, flow, poser)

    return make


def test_truth_and_observations_are_recorded_side_by_side(frames: list[Frame], recording) -> None:
    _, recorder = recording()
    found = recorder.record(frames, fps=30.0)
    assert (len(found), found.frames, found.fps) == (1, FRAMES, 30.0)
    np.testing.assert_allclose(found.seen_z - found.z, 0.3, atol=1e-5)
    np.testing.assert_array_equal(found.seen_translation_m, found.translation_m)
    places = np.stack([frame.person.translation_m for frame in frames])
    np.testing.assert_array_equal(found.translation_m[0], places)
    np.testing.assert_allclose(found.std[0, 2], [0.4] * 63 + [0.2] * 3 + [0.1] * 3, rtol=1e-6)
    assert not found.missing.any()
    _, _, state, evidence = list(seen_frames(found, 0))[3]
    person, camera = frames[3].person, frames[3].camera
    pixels = camera.project(evidence.camera.unproject(evidence.keypoints_px[:, :2]))
    np.testing.assert_allclose(pixels, person.keypoints_px, atol=0.01)
    np.testing.assert_allclose(evidence.keypoints_px[:, 2], 0.9, rtol=1e-6)
    scale = np.array(evidence.camera.focal_px) / camera.focal_px
    assert evidence.covariance_px2 is not None
    np.testing.assert_allclose(
        evidence.covariance_px2, np.tile([9, 2, 4] * scale[[0, 0, 1]] * scale[[0, 1, 1]], (23, 1)), rtol=1e-4
    )
    np.testing.assert_array_equal(state.z, found.seen_z[0, 3])
    np.testing.assert_allclose(found.betas[0], person.betas, rtol=1e-6)
    assert found.half_box.shape == (1, FRAMES)
    for name in ("z", "root_quat_wxyz", "std"):
        assert getattr(found, name).dtype == np.float32


def test_each_crop_is_around_the_last_one_or_the_truth_after_a_miss(frames: list[Frame], recording) -> None:
    regressor, recorder = recording(blind=(2,))
    found = recorder.record(frames, fps=30.0)
    assert found.missing[0].tolist() == [False, False, True, False, False, False]
    true = [frame.person.box_xyxy_px for frame in frames]
    np.testing.assert_allclose(regressor.boxes[0], true[0])
    np.testing.assert_allclose(regressor.boxes[3], true[2])
    sizes = [(box[2:] - box[:2]).max() for box in true]
    assert not np.allclose(regressor.boxes[1], true[0], atol=0.5), "around what was seen, with its margins"
    for asked, box, size in zip(regressor.boxes, true, sizes, strict=True):
        assert np.abs(asked - box).max() < 0.35 * size


def test_moments_are_the_frames_of_the_lags(assets: SceneAssets, poses: ClipPoses, recording) -> None:
    config = SceneConfig(**vars(CONFIG) | {"clip_fps": MOMENTS_HZ})
    assert [(MOMENTS[-1] - at) / MOMENTS_HZ for at in MOMENTS[-2::-1]] == pytest.approx(LAGS_S)
    frames = list(make_clip(assets, poses, Augmenter(config), 3, frames=MOMENTS[-1] + 1, only=MOMENTS))
    assert [frame.t_ns for frame in frames] == [round(1e9 * at / MOMENTS_HZ) for at in MOMENTS]
    _, recorder = recording()
    recorder._regressor._frames = frames
    found = recorder.record_moments(frames, np.random.default_rng(0))
    assert found.is_of_moments
    assert found.z.shape == (1, len(LAGS_S) + 1, 63)
    window = random_windows(found, 2, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(window.true_z[0], found.z[0, -1], atol=1e-6)
    np.testing.assert_allclose(window.lag_s[0], LAGS_S, rtol=1e-5)
    joined = RecordedObservations.joined([found, found])
    assert joined.is_of_moments
    assert len(joined) == 2
