"""Training the detector on a toy: it learns where the bright box is, and says so in pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinestream.detect.detector import DETECTOR_FORMAT, PersonDetector
from kinestream.detect.network import STRIDE, DetectorNetwork
from kinestream.networks.interface import DetectorConfig
from kinestream.networks.weight_files import save_weights
from kinestream.trainer.detector.training import boxed_frames, evaluate, to_batch, train
from kinestream.trainer.run_state import TrainingRun

SHAPE = (64, 96)


class BrightBoxes:
    """One bright box on dark ground, or nothing; of any shape that is asked for, scaled down."""

    def sample(self, rng: np.random.Generator, *, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        height, width = SHAPE
        image = rng.integers(0, 60, (height, width, 3), np.uint8)
        if rng.random() < 0.2:
            return image, np.zeros((0, 4), np.float32)
        size = rng.integers(16, 40, 2)
        x, y = rng.integers(0, width - size[0]), rng.integers(0, height - size[1])
        image[y : y + size[1], x : x + size[0]] += 180
        return image, np.array([[x, y, x + size[0], y + size[1]]], np.float32)


def test_batches_mark_centres() -> None:
    rng = np.random.default_rng(0)
    frames = [BrightBoxes().sample(rng, shape=SHAPE) for _ in range(6)]
    images, centers, boxes = to_batch(frames)
    assert images.shape == (6, 3, *SHAPE)
    assert centers.shape == (6, SHAPE[0] // STRIDE, SHAPE[1] // STRIDE)
    for row, (_, expected) in enumerate(frames):
        assert (centers[row] == 1).sum() == len(expected)
        if len(expected):
            i, j = np.unravel_index(int(centers[row].argmax()), centers[row].shape)
            np.testing.assert_allclose(boxes[row, :, i, j], expected[0])


def test_it_learns_resumes_and_is_what_runs(tmp_path: Path) -> None:
    def new_run() -> TrainingRun:
        torch.manual_seed(0)
        network = DetectorNetwork(DetectorConfig(backbone="tiny", frame_px=96))
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
        return TrainingRun(tmp_path / "run", network, optimizer, average_decay=0.9)

    rng = np.random.default_rng(7)
    fixed = [BrightBoxes().sample(rng, shape=SHAPE) for _ in range(20)]
    options = {
        "frame_px": 96,
        "steps": 150,
        "batch_size": 8,
        "peak_rate": 2e-3,
        "warmup": 10,
        "bfloat16": False,
        "validate_every": 75,
    }
    train(BrightBoxes(), fixed, new_run(), **options, stop_after=75)
    run = new_run()
    assert run.resume()
    train(BrightBoxes(), fixed, run, **options)
    scores = evaluate(run.average.module, fixed)
    assert scores["recall"] > 0.8
    assert scores["precision"] > 0.6

    path = tmp_path / "detector.safetensors"
    network = run.average.module
    save_weights(path, network, kind=DETECTOR_FORMAT, config=network.config.to_dict())
    detector = PersonDetector.load(path)
    image, boxes = next(frame for frame in fixed if len(frame[1]))
    large = np.repeat(np.repeat(image, 2, 0), 2, 1)
    found = detector(large)
    assert found.boxes_xyxy_px[0] == pytest.approx(boxes[0] * 2, abs=16)


def test_photos_with_boxes_are_named_with_their_folder(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((40, 60, 3), np.uint8))
    table = tmp_path / "boxes.csv"
    columns = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf,IsDepiction"
    table.write_text(f"{columns}\na,/m/01g317,0.1,0.6,0.2,0.9,0,0\n", encoding="utf-8")
    frames = boxed_frames([f"{table}={tmp_path}"])
    assert len(frames) == 1
    assert frames.sample(np.random.default_rng(0), shape=SHAPE)[0].shape == (*SHAPE, 3)
    with pytest.raises(ValueError, match=r"BOXES\.csv=PICTURES"):
        boxed_frames([str(table)])
