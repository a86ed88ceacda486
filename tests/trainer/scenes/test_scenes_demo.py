"""The embedded demo clip and its ground truth belong together."""

import av
import numpy as np
import pytest
import torch

from kinestream.body.arrays import DEFAULT_BODY_PATH
from kinestream.body.model import BodyModel
from kinestream.geometry.camera import Camera

ASSETS = DEFAULT_BODY_PATH.parent


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    with np.load(ASSETS / "demo.npz", allow_pickle=False) as content:
        return {key: content[key] for key in content.files}


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    with av.open(str(ASSETS / "demo.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_sizes(truth: dict[str, np.ndarray], pictures: list[np.ndarray]) -> None:
    assert (ASSETS / "demo.mp4").stat().st_size <= 1_500_000
    assert (ASSETS / "demo.npz").stat().st_size <= 150_000
    frames = len(truth["t_ns"])
    assert len(pictures) == frames == 180
    assert pictures[0].shape == (truth["size_px"][1], truth["size_px"][0], 3)
    np.testing.assert_allclose(np.diff(truth["t_ns"]), 1e9 / truth["fps"], atol=1)


def test_truth_is_consistent_with_the_body_and_the_camera(truth: dict[str, np.ndarray]) -> None:
    frames = len(truth["t_ns"])
    rotations = torch.from_numpy(truth["rotations"]).float()
    betas = torch.from_numpy(truth["betas"]).repeat(frames, 1)
    body = BodyModel.load()(betas, rotations, torch.from_numpy(truth["translation_m"]))
    np.testing.assert_allclose(body.joints_m.numpy(), truth["joints_cam_m"], atol=3e-3)
    K = truth["intrinsics"]
    width, height = (int(side) for side in truth["size_px"])
    camera = Camera(width, height, (K[0, 0], K[1, 1]), (K[0, 2], K[1, 2]))
    pixels = camera.project(body.keypoints_m.numpy())
    np.testing.assert_allclose(pixels, truth["keypoints_px"], atol=1.0)
    assert (truth["keypoints_px"] > 0).all() and (truth["keypoints_px"] < [width, height]).all()


def test_the_person_is_where_the_truth_says(truth: dict[str, np.ndarray], pictures: list[np.ndarray]) -> None:
    """The red shirt is around the middle of shoulders and hips, and nowhere else."""
    for index in range(0, len(pictures), 30):
        picture = pictures[index].astype(int)
        red = (picture[..., 0] > 90) & (picture[..., 0] > 2 * picture[..., 1] + 20)
        rows, columns = np.nonzero(red)
        chest = truth["keypoints_px"][index, [5, 6]].mean(0) * 0.6 + 0.4 * truth["keypoints_px"][
            index, [11, 12]
        ].mean(0)
        height = np.ptp(truth["box_xyxy_px"][index, [1, 3]])
        assert len(rows) > 200
        assert np.hypot(columns.mean() - chest[0], rows.mean() - chest[1]) < 0.15 * height
