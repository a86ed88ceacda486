"""The detector: letterbox, peaks, suppression and the way back to the picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.detect.detector import (
    DETECTOR_FORMAT,
    Detections,
    PersonDetector,
    letterbox,
    peaks,
    suppress,
)
from kinestream.detect.network import STRIDE, DetectorNetwork
from kinestream.engines.torch import TorchEngine
from kinestream.geometry.boxes import iou
from kinestream.networks.interface import DetectorConfig, DetectorOutput
from kinestream.networks.weight_files import save_weights

CONFIG = DetectorConfig(backbone="tiny", frame_px=160)


class KnownBoxes(torch.nn.Module):
    """Says the same boxes (letterboxed frame) with the same scores, whatever it is shown."""

    def __init__(self, boxes: list[tuple[float, ...]], scores: list[float]) -> None:
        super().__init__()
        self.boxes, self.scores = boxes, scores

    def forward(self, frames: torch.Tensor) -> DetectorOutput:
        height, width = frames.shape[2] // STRIDE, frames.shape[3] // STRIDE
        logits = torch.full((1, height, width), -9.0)
        maps = torch.zeros(1, 4, height, width)
        for box, score in zip(self.boxes, self.scores, strict=True):
            column, row = int((box[0] + box[2]) / 2 // STRIDE), int((box[1] + box[3]) / 2 // STRIDE)
            logits[0, row, column] = float(np.log(score / (1 - score)))
            maps[0, :, row, column] = torch.tensor(box)
        return DetectorOutput(logits, maps)


def test_boxes_come_back_in_pixels_of_the_picture() -> None:
    image = np.zeros((360, 640, 3), np.uint8)  # letterboxed by 1/4
    network = KnownBoxes([(10.0, 20.0, 50.0, 80.0), (100.0, 5.0, 140.0, 85.0)], [0.6, 0.9])
    found = PersonDetector(network, CONFIG)(image)
    np.testing.assert_allclose(found.scores, [0.9, 0.6], atol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy_px[1], np.array([10.5, 20.5, 50.5, 80.5]) * 4 - 0.5)
    assert found.boxes_xyxy_px[0, 3] == pytest.approx(85.5 * 4 - 0.5)
    assert "2 persons" in repr(found)


def test_weak_and_double_boxes_are_left_out() -> None:
    image = np.zeros((160, 160, 3), np.uint8)
    boxes = [(10.0, 20.0, 60.0, 120.0), (14.0, 40.0, 66.0, 124.0), (100.0, 20.0, 140.0, 100.0)]
    found = PersonDetector(KnownBoxes(boxes, [0.8, 0.7, 0.2]), CONFIG)(image)
    assert len(found) == 1
    both = PersonDetector(KnownBoxes(boxes, [0.8, 0.7, 0.2]), CONFIG, overlap_threshold=0.9)
    assert len(both(image)) == 2
    all_of_them = PersonDetector(KnownBoxes(boxes, [0.8, 0.7, 0.2]), CONFIG, score_threshold=0.1)
    assert len(all_of_them(image)) == 2


def test_neighbouring_cells_are_one_peak() -> None:
    logits = torch.full((1, 6, 6), -9.0)
    logits[0, 2, 2], logits[0, 2, 3] = 1.0, 2.0
    boxes = torch.arange(36.0).view(1, 1, 6, 6).expand(1, 4, 6, 6)
    found, scores = peaks(DetectorOutput(logits, boxes), 0.3)
    assert len(scores) == 1
    np.testing.assert_array_equal(found[0], [15.0] * 4)


@pytest.mark.parametrize(
    ("size", "expected"), [((360, 640), (96, 160)), ((640, 360), (160, 96)), ((7, 9), (128, 160))]
)
def test_letterbox_pads_to_multiples_of_32(size: tuple[int, int], expected: tuple[int, int]) -> None:
    frame, scale = letterbox(np.full((*size, 3), 200, np.uint8), 160)
    assert frame.shape == (*expected, 3)
    assert scale == pytest.approx(160 / max(size))
    assert (frame[0, 0] == 200).all()


boxes_strategy = st.lists(
    st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(1, 40), st.floats(1, 40)), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=60)
@given(boxes_strategy, st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_and_nothing_that_overlaps(
    boxes: list[tuple[float, ...]], threshold: float
) -> None:
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32)
    scores = np.linspace(0.2, 0.9, len(corners)).astype(np.float32)
    kept = suppress(corners, scores, threshold)
    assert kept[0] == len(corners) - 1
    assert (np.diff(scores[kept]) < 0).all()
    overlap = iou(corners[kept], corners[kept])
    assert (overlap[~np.eye(len(kept), dtype=bool)] <= threshold + 1e-6).all()
    dropped = np.setdiff1d(np.arange(len(corners)), kept)
    if len(dropped):
        assert (iou(corners[dropped], corners[kept]).max(1) > threshold).all()


def test_overlap_of_known_boxes() -> None:
    found = iou([(0, 0, 2, 2)], [(0, 0, 2, 2), (1, 0, 3, 2), (5, 5, 6, 6)])
    np.testing.assert_allclose(found, [[1.0, 1 / 3, 0.0]])


def test_stored_detector_runs_on_any_picture(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "detector.safetensors"
    save_weights(path, DetectorNetwork(CONFIG), kind=DETECTOR_FORMAT, config=CONFIG.to_dict())
    detector = PersonDetector.load(path, score_threshold=0.0)
    for shape in ((100, 37), (16, 400), (300, 300)):
        found = detector(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
        assert 0 < len(found) <= 32
        assert (np.diff(found.scores) <= 0).all()
        low, high = found.boxes_xyxy_px.min(), found.boxes_xyxy_px[:, 2:].max(0)
        assert low >= -0.5
        assert (high <= np.array([shape[1], shape[0]]) - 0.5).all()


def test_an_untrained_network_expects_nobody() -> None:
    torch.manual_seed(0)
    detector = PersonDetector(TorchEngine(DetectorNetwork(CONFIG)), CONFIG)
    assert len(detector(np.zeros((90, 160, 3), np.uint8))) == 0


def test_errors() -> None:
    with pytest.raises(ValueError, match="RGB"):
        PersonDetector(KnownBoxes([], []), CONFIG)(np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match="thresholds"):
        PersonDetector(KnownBoxes([], []), CONFIG, score_threshold=1.5)
    with pytest.raises(ValueError, match="Detections"):
        Detections(np.zeros((2, 4), np.float32), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="frame_px"):
        DetectorConfig(frame_px=100)


def test_letterbox_of_a_large_picture_equals_one_reduction() -> None:
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3)).astype(np.uint8)
    frame, _ = letterbox(image, 320)
    at_once = cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA)
    assert np.abs(frame[:180].astype(int) - at_once).max() <= 1


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_peaks_are_the_cells_above_their_neighbours(threshold: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(1, 24, 40, generator=generator)
    boxes = torch.rand(1, 4, 24, 40, generator=generator)
    heat = torch.sigmoid(logits)
    highest = torch.nn.functional.max_pool2d(heat, 3, 1, 1)
    expected = torch.where((heat == highest) & (heat >= threshold))
    order = heat[expected].argsort(descending=True)
    found, scores = peaks(DetectorOutput(logits, boxes), threshold)
    np.testing.assert_allclose(scores, heat[expected][order], atol=1e-6)
    np.testing.assert_array_equal(found, boxes.permute(0, 2, 3, 1)[expected][order])
