"""EfficientPose and BodyPix as further teachers of keypoints and body parts, in any TFLite runtime.

Both read a photo cut around one person, as `kinestream.trainer.data.photos` holds them, and answer in its
pixels with our keypoints (23, 3): x, y and a probability, which is 0 for what a teacher does not know.
"""

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from kinestream.body.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS, PART_NAMES
from kinestream.tools.teacher.labels import MASK_SIDE, Floats, Image
from kinestream.trainer.data.crops.crop_sample import PART_PERSON
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS

_EFFICIENTPOSE_ROWS: Final = (6, 2, 7, 3, 8, 4, 13, 10, 14, 11, 15, 12)
"""EfficientPose's maps of `LIMB_JOINTS`."""
_IMAGENET_MEAN, _IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_STRIDE: Final = 16
_TILE_PX: Final = 360
"""Side that a photo has in BodyPix's picture: larger people exceed what it sees at once."""
_GRAY: Final = 128

_BODYPIX: Final = (
    "head", "head", "l_upper_arm", "l_upper_arm", "r_upper_arm", "r_upper_arm", "l_forearm", "l_forearm",
    "r_forearm", "r_forearm", "l_hand", "r_hand", "torso", "torso", "l_thigh", "l_thigh", "r_thigh",
    "r_thigh", "l_shin", "l_shin", "r_shin", "r_shin", "l_foot", "r_foot",
)  # fmt: skip
PART_OF_BODYPIX: Final = np.array(
    [1 + PART_NAMES.index(name) if name in PART_NAMES else PART_PERSON for name in _BODYPIX], np.uint8
)
"""Label of a part map for each of BodyPix's 24 parts; the torso, of which we have halves, is person."""


class TfliteModel:
    """A network in a TFLite file with one input."""

    def __init__(self, path: Path) -> None:
        """Read the file; ``ImportError`` where no runtime is installed, ``FileNotFoundError`` for no file."""
        if not path.exists():
            raise FileNotFoundError(f"no teacher at {path}; docs/training.md says where it comes from")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ImportError("TFLite teachers need a runtime: pip install ai-edge-litert") from error
        self._network = Interpreter(str(path), num_threads=1)
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]
        self._outputs = self._network.get_output_details()

    def __call__(self, picture: Any) -> dict[str, Floats]:
        """The outputs by name, in real numbers, for a picture (H, W, 3) of the network's size."""
        self._network.set_tensor(self._input["index"], picture[None].astype(self._input["dtype"]))
        self._network.invoke()
        answers = {}
        for output in self._outputs:
            scale, zero = output["quantization"]
            raw = self._network.get_tensor(output["index"])[0].astype(np.float32)
            answers[output["name"]] = (raw - zero) * scale if scale else raw
        return answers


def fitted(image: Image, side: int) -> tuple[Image, Floats]:
    """A photo in the middle of a gray square, and the map (2, 3) from its pixels to the square's."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    shift = (scale - 1) / 2 + (side - scale * np.array([width, height])) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    square = cv2.warpAffine(image, matrix, (side, side), borderValue=(_GRAY,) * 3)
    return np.asarray(square, np.uint8), matrix


class EfficientPose:
    """EfficientPose-II (MPII joints); it knows the 12 limb joints."""

    def __init__(self, path: Path) -> None:
        self._network = TfliteModel(path)

    def __call__(self, image: Image) -> Floats:
        """Keypoints (23, 3) of the person of a photo."""
        square, matrix = fitted(image, 368)
        maps = self._network((square / 255 - _IMAGENET_MEAN) / _IMAGENET_STD)["upscaled_confs/BiasAdd"]
        flat = maps[..., list(_EFFICIENTPOSE_ROWS)].reshape(-1, len(LIMB_JOINTS))
        best = flat.argmax(0)
        points = np.stack([best % maps.shape[1], best // maps.shape[1]], 1)
        keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
        rows = [KEYPOINT_NAMES.index(name) for name in LIMB_JOINTS]
        keypoints[rows, :2] = (points - matrix[:, 2]) / matrix[0, 0]
        keypoints[rows, 2] = flat.max(0).clip(0, 1)
        return keypoints


class BodyPix:
    """BodyPix (MobileNet, stride 16): COCO's keypoints, and body parts with left and right apart."""

    def __init__(self, path: Path) -> None:
        self._network = TfliteModel(path)

    def __call__(self, image: Image) -> tuple[Floats, Image]:
        """Keypoints (23, 3) of the person of a photo, and labels (64, 64) stretched over the whole photo.

        Labels are 0 background, part + 1, or ``PART_PERSON`` for the torso.
        """
        square, matrix = fitted(image, _TILE_PX)
        canvas = np.full((1280, 720, 3), _GRAY, np.uint8)
        canvas[:_TILE_PX, :_TILE_PX] = square
        cells = _TILE_PX // _STRIDE + 1
        answers = {name: value[:cells, :cells] for name, value in self._network(canvas).items()}
        heat = answers["float_heatmaps"].reshape(-1, 17)
        best = heat.argmax(0)
        row, column, number = best // cells, best % cells, np.arange(17)
        offset = answers["float_short_offsets"]
        points = np.stack([column, row], 1) * float(_STRIDE)
        points += np.stack([offset[row, column, 17 + number], offset[row, column, number]], 1)
        keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
        keypoints[:17, :2] = (points - matrix[:, 2]) / matrix[0, 0]
        keypoints[:17, 2] = 1 / (1 + np.exp(-heat.max(0)))
        return keypoints, _labels(answers, matrix, image.shape[:2])


def _labels(answers: dict[str, Floats], matrix: Floats, size: tuple[int, ...]) -> Image:
    """Part labels over the photo from person and part scores at stride 16."""
    height, width = size
    stretch = np.array([[width, 0, width / 2], [0, height, height / 2]], np.float32) / MASK_SIDE
    stretch[:, 2] -= 0.5
    to_cells = matrix[0, 0] * stretch / _STRIDE
    to_cells[:, 2] += matrix[:, 2] / _STRIDE
    scores = np.concatenate([answers["float_segments"], answers["float_part_heatmaps"]], 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    planes = [
        cv2.warpAffine(np.ascontiguousarray(plane), to_cells, (MASK_SIDE, MASK_SIDE), flags=flags)
        for plane in scores.transpose(2, 0, 1)
    ]
    person, parts = planes[0], np.stack(planes[1:])
    return np.where(person > 0, PART_OF_BODYPIX[parts.argmax(0)], 0).astype(np.uint8)
