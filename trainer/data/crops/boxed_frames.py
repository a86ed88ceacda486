"""Frames for the detector from photos with boxes, and a mixture of sources of frames.

    photos = load_open_images(boxes_csv, images_folder)
    frames = MixedFrames([(composed, 0.8), (BoxedFrames(photos), 0.2)])

`MixedFrames` gives what `kinestream.trainer.data.crops.detection_frames.DetectionFrames` gives and stands
wherever that does.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from kinestream.trainer.data.photos.image_augment import damage
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.open_images import BoxedPhoto
from kinestream.trainer.data.weighted import Weighted

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_GRAY = (114, 114, 114)
"""Around a letterboxed picture, as the detector has it."""
MIN_VISIBLE = 0.35
MIN_SIDE_PX = 14.0


class FrameSource(Protocol):
    """Draws a frame of ``shape`` (H, W) and the boxes (P, 4) of the visible people, in px."""

    def sample(self, rng: np.random.Generator, *, shape: tuple[int, int]) -> tuple[Image, Floats]:
        """Draw one."""
        ...


class BoxedFrames:
    """Photos at random size and place, with the boxes of their people.

    Of whom little is left at the edge of the frame is painted over. Left out are photos with a box of a whole
    group, in which single people have none, and photos without a box, in which people may be unlabelled.
    """

    def __init__(self, photos: Sequence[BoxedPhoto]) -> None:
        """Raises ``ValueError`` when no photo is of use."""
        self._photos = [photo for photo in photos if len(photo.boxes) and not photo.group.any()]
        if not self._photos:
            raise ValueError(
                f"none of {len(photos)} photos has boxes of single people; give others, or leave them out"
            )

    def __len__(self) -> int:
        """Number of photos in use."""
        return len(self._photos)

    def sample(self, rng: np.random.Generator, *, shape: tuple[int, int]) -> tuple[Image, Floats]:
        """A frame of ``shape`` (H, W) and the boxes (P, 4) of the people who are seen well enough."""
        photo = self._photos[int(rng.integers(len(self._photos)))]
        image, boxes = decode(packed_image(photo.path)), photo.boxes
        if rng.random() < 0.5:
            image = np.asarray(cv2.flip(image, 1), np.uint8)
            boxes = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1)
        height, width = shape
        size = np.array(image.shape[1::-1], np.float64)
        scale = min(np.array([width, height]) / size) * math.exp(rng.uniform(math.log(0.6), math.log(2.0)))
        room = np.array([width, height]) - size * scale
        corner = rng.uniform(np.minimum(room, 0), np.maximum(room, 0))
        # the edge of a picture lies half a pixel before its first pixel's centre, in photo and frame alike
        place = np.array([[scale, 0, corner[0] + scale / 2 - 0.5], [0, scale, corner[1] + scale / 2 - 0.5]])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frame = np.asarray(
            cv2.warpAffine(image, place, (width, height), flags=method, borderValue=_GRAY), np.uint8
        )
        placed = boxes * np.tile(size * scale, 2) + np.tile(corner, 2)
        cut = np.clip(placed, 0, [width, height, width, height])
        known = visible_enough(cut, placed)
        for left, top, right, bottom in cut[~known]:  # nobody is in a frame without a box
            frame[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)] = _GRAY
        return damage(rng, frame), cut[known].astype(np.float32)


class MixedFrames(Weighted[FrameSource]):
    """Frames of several sources, each as often as its weight says."""

    def sample(self, rng: np.random.Generator, *, shape: tuple[int, int]) -> tuple[Image, Floats]:
        """A frame of one of them."""
        return self.draw(rng).sample(rng, shape=shape)


def visible_enough(cut: npt.NDArray[np.floating], whole: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which boxes (P, 4), cut to the frame, still show enough of the person."""
    sides, of = cut[:, 2:] - cut[:, :2], whole[:, 2:] - whole[:, :2]
    share = sides.prod(1) / np.maximum(of.prod(1), 1e-9)
    return np.asarray((share >= MIN_VISIBLE) & (sides.max(1) >= MIN_SIDE_PX))
