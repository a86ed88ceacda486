"""3DPW, EMDB and Human3.6M layouts: a regressor that knows the answer has no error, a turned one has."""

import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.regress.observation import Observations
from kinestream.tools.bench.accuracy.datasets import human36m, posed_videos
from kinestream.tools.bench.accuracy.evaluate import run_datasets
from kinestream.trainer.data.annotated.annotated import AnnotatedVideo, AnnotationError
from kinestream.trainer.data.annotated.emdb import load_emdb
from kinestream.trainer.data.annotated.human36m import JOINT_COLUMNS
from kinestream.trainer.losses.body import with_hands


@pytest.fixture(scope="module")
def flow() -> PoseFlow:
    torch.manual_seed(0)
    return PoseFlow(FlowConfig(depth=2, hidden=16)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


class Knows:
    """Always sees the rest pose, upright, a given distance away, turned about the vertical."""

    def __init__(self, flow: PoseFlow, *, turn_rad: float = 0.0, away_m: float = 4.0) -> None:
        rest = torch.eye(3).expand(1, 21, 3, 3)
        self.z = flow.encode(rest).numpy()
        half = turn_rad / 2  # about y after half a turn about x: w = 0, x = cos, z = -sin
        self.quat = np.array([[0.0, np.cos(half), 0.0, -np.sin(half)]], np.float32)
        self.place = np.array([[0.0, 0.0, away_m]], np.float32)
        self.boxes: list[np.ndarray] = []

    def __call__(self, image: np.ndarray, boxes: object, camera: Camera) -> Observations:
        assert image.shape[:2] == (camera.height_px, camera.width_px)
        self.boxes.append(np.asarray(boxes)[0])
        blank = Observations.of_nobody(self.z.shape[1])
        fields = {name: np.zeros((1, *value.shape[1:]), np.float32) for name, value in vars(blank).items()}
        fields |= {"z": self.z, "root_quat_wxyz": self.quat, "translation_m": self.place}
        return Observations(**fields)


def write_emdb(folder: Path) -> Path:
    sequence = folder / "P0" / "09_walk"
    (sequence / "images").mkdir(parents=True)
    for frame in range(3):
        cv2.imwrite(str(sequence / "images" / f"{frame:05d}.jpg"), np.zeros((480, 360, 3), np.uint8))
    extrinsics = np.tile(np.eye(4), (3, 1, 1))
    extrinsics[:, :3, :3] = np.diag([1.0, -1, -1])
    extrinsics[:, 2, 3] = 4.0
    content = {
        "name": "P0_09_walk", "emdb1": True, "n_frames": 3, "good_frames_mask": np.array([True, False, True]),
        "camera": {
            "intrinsics": np.array([[400.0, 0, 180], [0, 400, 240], [0, 0, 1]]),
            "extrinsics": extrinsics,
        },
        "smpl": {
            "poses_root": np.zeros((3, 3)), "poses_body": np.zeros((3, 69)), "trans": np.zeros((3, 3)),
            "betas": np.ones(10),
        },
    }  # fmt: skip
    path = sequence / "P0_09_walk_data.pkl"
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


def test_emdb_by_someone_who_knows(tmp_path: Path, flow: PoseFlow, body: BodyModel) -> None:
    path = write_emdb(tmp_path)
    videos = load_emdb(tmp_path)
    knows = Knows(flow)
    result = posed_videos(knows, flow, body, videos, None, stride=1)
    assert result["frames"] == 2
    assert result["mpjpe_mm"] < 0.1 and result["pa_mpjpe_mm"] < 0.1
    width, height = knows.boxes[0][2:] - knows.boxes[0][:2]
    assert 100 < height < 250 and width > 30
    turned = posed_videos(Knows(flow, turn_rad=1.0), flow, body, videos, None, stride=1)
    assert turned["mpjpe_mm"] > 50 and turned["pa_mpjpe_mm"] < 0.1
    other = posed_videos(knows, flow, body, videos, body, stride=1)
    assert other["mpjpe_mm"] > 1.0  # the set's shape counts once its body is given
    assert run_datasets(knows, flow, body, {"emdb": tmp_path}, None, stride=1) == {"emdb": result}
    path.write_bytes(pickle.dumps({"name": "x"}))
    with pytest.raises(AnnotationError, match="not an EMDB sequence"):
        load_emdb(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_emdb(tmp_path / "nowhere")


def test_human36m_by_someone_who_knows(tmp_path: Path, flow: PoseFlow, body: BodyModel) -> None:
    video = tmp_path / "a.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(3):
            picture = np.zeros((240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    root = torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(1, 1, 3, 3)
    rotations = torch.cat([root, torch.eye(3).expand(1, 21, 3, 3)], 1)
    _, keypoints = body.skeleton(torch.zeros(1, 10), with_hands(rotations), torch.tensor([[0.0, 0.0, 4.0]]))
    joints = np.zeros((3, 32, 3))
    for name, column in JOINT_COLUMNS.items():
        joints[:, column] = keypoints[0, KEYPOINT_NAMES.index(name)].numpy()
    pixels = joints[..., :2] / np.maximum(joints[..., 2:], 1) * 200 + [160, 120]
    view = AnnotatedVideo(video, JOINT_COLUMNS, pixels, joints + [0.3, 0.2, 0.5])
    result = human36m(Knows(flow), flow, body, [view], 200.0, stride=2)
    assert result["frames"] == 2
    assert result["mpjpe_mm"] < 0.1 and result["pa_mpjpe_mm"] < 0.1
    with pytest.raises(ValueError, match="D3_Positions_mono"):
        human36m(
            Knows(flow), flow, body, [AnnotatedVideo(video, JOINT_COLUMNS, pixels, None)], 200.0, stride=1
        )
