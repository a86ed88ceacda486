"""A world of coloured blocks with stand-ins for detector and regressor, for tests of what is around them.

Each person is a block of its own colour; the stand-ins find blocks by colour and know everything else.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch

from kinestream.body.arrays import BodyArrays, read_body
from kinestream.body.kinematics import CompiledKinematics
from kinestream.detect.detector import Detections
from kinestream.geometry.camera import Camera
from kinestream.latent.decode import FlowDecoder
from kinestream.latent.dynamics_weights import DynamicsWeights
from kinestream.latent.flow import FlowConfig, PoseFlow
from kinestream.models import Models
from kinestream.regress.observation import Observations

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Tensors here are small, and threads that wait for each other cost more than they give, most of all where
# other work goes on. The variable is for processes that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

COLOURS = np.array([[220, 30, 30], [30, 200, 30], [40, 40, 230], [220, 220, 40]])
BODY_HEIGHT_M = 1.7
FACING = np.float32([0, 1, 0, 0])
"""Upright, facing the camera."""

Block = tuple[int, int, int, int]
"""Left, top, width, height."""


def paint(size: tuple[int, int], blocks: dict[int, Block]) -> np.ndarray:
    """A picture (H, W, 3) with the block of each person, by number."""
    image = np.full((size[1], size[0], 3), 20, np.uint8)
    for person, (left, top, width, height) in blocks.items():
        image[top : top + height, left : left + width] = COLOURS[person]
    return image


def find_blocks(image: np.ndarray) -> dict[int, np.ndarray]:
    """Box of each person whose colour is in the picture."""
    found = {}
    for person, colour in enumerate(COLOURS):
        rows, columns = np.nonzero(np.abs(image.astype(int) - colour).sum(-1) < 120)
        if len(rows) > 60:
            found[person] = np.float32([columns.min(), rows.min(), columns.max(), rows.max()])
    return found


class BlockDetector:
    """Finds the blocks; counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image_rgb: np.ndarray) -> Detections:
        self.calls += 1
        boxes = list(find_blocks(image_rgb).values())
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))


class BlockRegressor:
    """Sees a person where a block's middle lies within the box it looks into."""

    latent_size = 63

    def __init__(self, body: BodyArrays, decoder: FlowDecoder) -> None:
        self._kinematics = CompiledKinematics.of(body)
        self._decoder = decoder

    def latent_of(self, person: int) -> np.ndarray:
        return np.random.default_rng(person).normal(size=63).astype(np.float32) * 0.05

    def place_of(self, box: np.ndarray, camera: Camera) -> np.ndarray:
        depth = camera.focal_px[1] * BODY_HEIGHT_M / float(box[3] - box[1])
        return camera.unproject((box[:2] + box[2:]) / 2, depth).astype(np.float32)

    def __call__(
        self,
        image_rgb: np.ndarray,
        boxes_xyxy_px: np.ndarray,
        camera: Camera,
        quarter_turns: np.ndarray | None = None,
    ) -> Observations:
        blocks = find_blocks(image_rgb)
        rows = len(boxes_xyxy_px)
        presence = np.full(rows, 0.02, np.float32)
        keypoints = np.zeros((rows, 23, 3), np.float32)
        z = np.zeros((rows, 63), np.float32)
        places = np.tile(np.float32([0, 0, 3]), (rows, 1))
        for row, looked in enumerate(boxes_xyxy_px):
            for person, box in blocks.items():
                center = (box[:2] + box[2:]) / 2
                if (center > looked[:2]).all() and (center < looked[2:]).all():
                    presence[row] = 0.97
                    z[row], places[row] = self.latent_of(person), self.place_of(box, camera)
                    unit = np.random.default_rng(7).uniform(0.05, 0.95, (23, 2))
                    unit[:4] = [[0.05, 0.05], [0.95, 0.05], [0.05, 0.97], [0.95, 0.97]]
                    keypoints[row, :, :2] = box[:2] + unit * (box[2:] - box[:2])
                    keypoints[row, :, 2] = 0.9
        return Observations(
            presence=presence,
            keypoints_px=keypoints,
            covariance_px2=np.ones_like(keypoints) * np.float32([4, 0, 4]),
            z=z,
            z_std=np.full((rows, 63), 0.2, np.float32),
            root_quat_wxyz=np.tile(FACING, (rows, 1)),
            root_std_rad=np.full(rows, 0.05, np.float32),
            translation_m=places,
            translation_std_m=np.full((rows, 3), 0.05, np.float32),
            betas=np.zeros((rows, 10), np.float32),
            betas_std=np.ones((rows, 10), np.float32),
        )


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A headless Chromium with WebGL in software, driven by Playwright; `browser.new_page()` opens a page.

    Names that end in .example lead to this computer.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra test)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs the browser Chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=program,
            args=[
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--host-resolver-rules=MAP *.example 127.0.0.1",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def body_and_decoder() -> tuple[BodyArrays, FlowDecoder]:
    return read_body(), FlowDecoder(PoseFlow(FlowConfig(depth=2, hidden=16)).eval())


@pytest.fixture
def block_models(body_and_decoder: tuple[BodyArrays, FlowDecoder]) -> Models:
    body, decoder = body_and_decoder
    dynamics = replace(DynamicsWeights.load(), flow_id=decoder.flow_id)
    return Models(BlockDetector(), BlockRegressor(body, decoder), decoder, body, dynamics, engine="blocks")


@pytest.fixture
def paint_blocks() -> Callable[..., np.ndarray]:
    return paint


@pytest.fixture
def block_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video file of such pictures."""

    def write(
        frames: Sequence[dict[int, Block]],
        *,
        size: tuple[int, int] = (320, 240),
        fps: int = 30,
        name: str = "blocks.mp4",
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps, options={"g": "10"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for i, blocks in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(paint(size, blocks), "rgb24")
                frame.pts, frame.time_base = i, Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
