"""The person detector as the tracker uses it: picture in, boxes and scores out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import cv2
import numpy as np

from kinestream.defaults import ASSETS
from kinestream.engines.engine import Engine, Network, NetworkInput, compile_network, network_key
from kinestream.geometry.boxes import cut, iou
from kinestream.geometry.crop import halved
from kinestream.kernels.array_types import Float32Array, Int64Array, RgbImage
from kinestream.networks.interface import DetectorConfig, DetectorOutput
from kinestream.networks.weight_files import configured, fill, read_header, read_weights

if TYPE_CHECKING:  # made only where an engine has to be built
    from kinestream.detect.network import DetectorNetwork

DETECTOR_FORMAT: Final = "kinestream.detector.v1"
DEFAULT_WEIGHTS: Final = ASSETS / "detector.safetensors"

_NETWORK_CODE: Final = (
    *("networks/backbone", "networks/interface", "networks/weight_files"),
    "detect/network",
)
"""Modules that define the network."""
SCORE_THRESHOLD: Final = 0.55
"""At 0.6 the shipped detector found 99 to 100 % of the people of three clips, and somebody in 0.5 % of photos
without people; at 0.5 in 5 %, at 0.3 in 33 %."""
OVERLAP_THRESHOLD: Final = 0.55
MAX_PERSONS: Final = 32
_PAD_GRAY: Final = 114
_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Detections:
    """N persons, best first.

    Attributes:
        boxes_xyxy_px: (N, 4) left, top, right, bottom in the full image.
        scores: (N,) 0..1, descending.
    """

    boxes_xyxy_px: Float32Array
    scores: Float32Array

    def __post_init__(self) -> None:
        if self.boxes_xyxy_px.shape != (len(self.scores), 4) or self.scores.ndim != 1:
            raise ValueError(
                "Detections: expected boxes (N, 4) and scores (N,), found "
                f"{self.boxes_xyxy_px.shape} and {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        """Number of persons and best score."""
        best = f", best {self.scores[0]:.2f}" if len(self) else ""
        return f"Detections({len(self)} persons{best})"


class Detector(Protocol):
    """Anything that finds people can stand in for :class:`PersonDetector`."""

    def __call__(self, image_rgb: RgbImage) -> Detections:
        """Find the people in an image (H, W, 3)."""
        ...


class PersonDetector:
    """The shipped detector."""

    def __init__(
        self,
        network: Engine | Callable[..., DetectorOutput],
        config: DetectorConfig,
        *,
        score_threshold: float = SCORE_THRESHOLD,
        overlap_threshold: float = OVERLAP_THRESHOLD,
    ) -> None:
        """Take an engine that runs a :class:`DetectorNetwork`, or what does as well.

        Boxes below ``score_threshold`` are left out, and so is each that overlaps a better one by more
        than ``overlap_threshold`` (intersection over union).
        """
        if not 0 <= score_threshold <= 1 or not 0 <= overlap_threshold <= 1:
            raise ValueError(
                f"thresholds must lie within 0 to 1, found {score_threshold} and {overlap_threshold}"
            )
        self.config = config
        self._network = network
        self._score_threshold, self._overlap_threshold = score_threshold, overlap_threshold

    @classmethod
    def load(
        cls,
        path: str | Path | None = None,
        *,
        score_threshold: float = SCORE_THRESHOLD,
        overlap_threshold: float = OVERLAP_THRESHOLD,
        engine: str = "torch",
    ) -> PersonDetector:
        """Read a detector; None means the shipped weights.

        Raises ``FileNotFoundError``, :class:`kinestream.networks.weight_files.WeightsError`, and as
        :func:`kinestream.engines.engine.compile_network` does.
        """
        network, config = inference_network(path)
        return cls(
            compile_network(network, engine=engine, max_batch=1),
            config,
            score_threshold=score_threshold,
            overlap_threshold=overlap_threshold,
        )

    def __call__(self, image_rgb: RgbImage) -> Detections:
        """Find the people in an image (H, W, 3); ``ValueError`` when it is none."""
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or not image_rgb.size:
            raise ValueError(f"expected an RGB image (H, W, 3), found {image_rgb.shape}")
        frame, scale = letterbox(image_rgb, self.config.frame_px)
        boxes, scores = peaks(self._network(frame[None].transpose(0, 3, 1, 2)), self._score_threshold)
        boxes = (boxes + 0.5) / scale - 0.5
        boxes = cut(boxes.astype(np.float32), image_rgb.shape[1], image_rgb.shape[0])
        kept = suppress(boxes, scores, self._overlap_threshold)[:MAX_PERSONS]
        return Detections(boxes[kept], scores[kept])


def inference_network(path: str | Path | None = None) -> tuple[Network, DetectorConfig]:
    """What engines run of a detector, and its configuration; raises as :meth:`PersonDetector.load`."""
    path = DEFAULT_WEIGHTS if path is None else Path(path)
    config = configured(DetectorConfig, read_header(path, kind=DETECTOR_FORMAT).config, path=path)
    form = DetectorOutput._make(DetectorOutput._fields)
    key = network_key(path, *_NETWORK_CODE)
    return Network(lambda: load_network(path), (_frame_input(config),), form, key, path), config


def load_network(path: str | Path) -> DetectorNetwork:
    """The network with its weights, for evaluation; raises as :meth:`PersonDetector.load`."""
    from kinestream.detect.network import DetectorNetwork

    file = read_weights(path, kind=DETECTOR_FORMAT)
    network = DetectorNetwork(configured(DetectorConfig, file.config, path=path))
    fill(network, file.arrays, path=path)
    return network.eval().requires_grad_(False)


def _frame_input(config: DetectorConfig) -> NetworkInput:
    """The argument of a detector's network: a frame whose sides vary with the source."""
    shape = (1, 3, config.frame_px // 64 * 32, config.frame_px)
    frame = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return NetworkInput(frame, (0, 2, 3), step=32, largest=config.frame_px)


def letterbox(image: RgbImage, longer_px: int) -> tuple[RgbImage, float]:
    """The image scaled to the longer side, padded right and below to multiples of 32; and the scale."""
    height, width = image.shape[:2]
    scale = longer_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    while min(image.shape[0] / size[1], image.shape[1] / size[0]) >= 2 and not any(
        side % 2 for side in image.shape[:2]
    ):
        image = halved(image)
    small = cv2.resize(image, size, interpolation=method)
    frame = np.full((-(-size[1] // 32) * 32, -(-size[0] // 32) * 32, 3), _PAD_GRAY, np.uint8)
    frame[: size[1], : size[0]] = small
    return frame, scale


def peaks(output: DetectorOutput, threshold: float) -> tuple[Float32Array, Float32Array]:
    """Boxes (N, 4) and scores (N,) of the local maxima of one frame's centre map, best first."""
    logits = np.asarray(output.center_logit[0], np.float32)
    with np.errstate(divide="ignore"):
        least = np.log(threshold) - np.log1p(-threshold)
    chosen = (logits == cv2.dilate(logits, _NEIGHBOURS)) & (logits >= least)
    scores = 1 / (1 + np.exp(-logits[chosen]))
    boxes = np.asarray(output.boxes_xyxy_px[0], np.float32)[:, chosen].T
    order = np.argsort(-scores, kind="stable")
    return boxes[order], scores[order]


def suppress(boxes_xyxy: Float32Array, scores: Float32Array, threshold: float) -> Int64Array:
    """Indices of the boxes to keep, best first: none overlaps a better one by more than ``threshold``."""
    order = np.argsort(-scores, kind="stable")
    overlap = iou(boxes_xyxy, boxes_xyxy)
    kept: list[int] = []
    for index in order:
        if not kept or overlap[index, kept].max() <= threshold:
            kept.append(int(index))
    return np.array(kept, np.int64)
