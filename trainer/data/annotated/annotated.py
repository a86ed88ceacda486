"""Photos and video frames with human annotations, in one form for all data sets, as training crops."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, MIRROR_PARTS, NUM_KEYPOINTS
from kinestream.trainer.data.crops.crop_sample import (
    PART_PERSON,
    PART_STRIDE,
    PART_UNKNOWN,
    CropSample,
    Floats,
    body_in_crop,
)
from kinestream.trainer.data.photos.image_augment import (
    Image,
    damage,
    map_matrix,
    random_similarity,
    warp,
)
from kinestream.trainer.data.photos.image_file import decode, packed_image
from kinestream.trainer.data.photos.photos import crop_keypoints

FloatArray = npt.NDArray[np.float64]

_MIRRORED_LABEL: Final = np.arange(256, dtype=np.uint8)
_MIRRORED_LABEL[1 : 1 + len(MIRROR_PARTS)] = 1 + np.array(MIRROR_PARTS, np.uint8)


class AnnotationError(ValueError):
    """An annotation file in another layout than the published one; the message names file and entry."""


@dataclass(frozen=True, eq=False)
class PhotoBody:
    """Body state of a person in the camera of the picture."""

    camera: FloatArray  # (4,) fx, fy, cx, cy in px of the picture
    rotations: FloatArray  # (22, 3, 3) root in the camera frame, then the 21 flow joints, local
    translation_m: FloatArray  # (3,) pelvis in the camera frame
    betas: FloatArray  # (10,) of the body with which training runs; zero for sets annotated with another one


@dataclass(frozen=True, eq=False)
class AnnotatedPerson:
    """One person in one picture."""

    path: Path  # of the picture, or of the video
    keypoints: Floats  # (23, 3) px of the picture and weight; weight 0 where not labelled
    frame: int | None = None  # of the video; None for a picture
    box_xyxy_px: FloatArray | None = None  # (4,) of the person, where annotated
    part_map: Callable[[], Image] | None = None  # makes the (H, W) part map, see CropSample
    body: PhotoBody | None = None  # where it is known


class AnnotatedCrops:
    """Random crops of annotated people; pictures are read when they are drawn."""

    def __init__(self, people: Sequence[AnnotatedPerson], *, crop_px: int, min_labels: int = 4) -> None:
        """Take people with at least ``min_labels`` keypoints; ``ValueError`` when there is none."""
        self._people = [p for p in people if (p.keypoints[:, 2] > 0).sum() >= min_labels]
        if not self._people:
            raise ValueError(f"none of {len(people)} people has {min_labels} labelled keypoints")
        self._crop_px = crop_px

    def __len__(self) -> int:
        return len(self._people)

    def sample(self, rng: np.random.Generator) -> CropSample:
        """Draw one person and one crop."""
        person = self._people[rng.integers(len(self))]
        image = read_picture(person.path, person.frame)
        keypoints = person.keypoints.copy()
        parts = None if person.part_map is None else person.part_map()
        if person.body is None and rng.random() < 0.5:
            image = np.asarray(cv2.flip(image, 1), np.uint8)
            keypoints = keypoints[list(MIRROR_KEYPOINTS)]
            keypoints[:, 0] = image.shape[1] - 1 - keypoints[:, 0]
            parts = None if parts is None else _MIRRORED_LABEL[parts[:, ::-1]]
        matrix = random_similarity(rng, keypoints[keypoints[:, 2] > 0, :2], crop_px=self._crop_px)
        size = (image.shape[1], image.shape[0])
        crop = warp(image, matrix, self._crop_px, border=None if rng.random() < 0.5 else 0)
        points, known = crop_keypoints(keypoints, matrix, self._crop_px, size)
        return CropSample(
            damage(rng, crop),
            points,
            known,
            _cropped_parts(parts, matrix, self._crop_px),
            body=None if person.body is None else body_in_crop(matrix, self._crop_px, **vars(person.body)),
        )


def keypoint_array(points: dict[str, Sequence[float]]) -> Floats:
    """Keypoints (23, 3) from x, y, weight by our names; what is not named has weight 0."""
    result = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    for name, values in points.items():
        result[KEYPOINT_NAMES.index(name)] = values
    return result


@dataclass(frozen=True, eq=False)
class AnnotatedVideo:
    """One person before one camera."""

    video: Path  # of this camera
    columns: Mapping[str, int]  # which of the N joints are keypoints of ours, by name
    joints_px: FloatArray  # (T, N, 2)
    joints_m: FloatArray | None  # (T, N, 3) in the camera frame; None where there are no 3D positions
    intrinsics: FloatArray | None = None  # (4,) fx, fy, cx, cy px, where known

    def people(self, *, stride: int = 25) -> list[AnnotatedPerson]:
        """Every ``stride``-th frame with its keypoints."""
        people = []
        for frame in range(0, len(self.joints_px), stride):
            points = {name: (*self.joints_px[frame, joint], 1.0) for name, joint in self.columns.items()}
            people.append(AnnotatedPerson(self.video, keypoint_array(points), frame=frame))
        return people


def read_picture(path: Path, frame: int | None = None) -> Image:
    """A picture, or one frame of a video, as RGB; ``ValueError`` when there is no such frame."""
    if frame is None:
        return decode(packed_image(path))
    if not path.exists():
        raise FileNotFoundError(f"no video at {path}; see docs/training.md for the layout of the data")
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        if rate is None or stream.time_base is None:
            raise ValueError(f"{path}: the video does not tell its frame rate")
        start = stream.start_time or 0
        wanted_s = float(frame / rate)
        container.seek(start + int(wanted_s / stream.time_base), stream=stream)
        for picture in container.decode(stream):
            time_s = float((picture.pts or 0) - start) * float(stream.time_base)
            if time_s >= wanted_s - 0.5 / float(rate):
                return np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    raise ValueError(f"{path}: no frame {frame}; the video is shorter")


def _cropped_parts(parts: Image | None, matrix: FloatArray, crop_px: int) -> Image:
    side = crop_px // PART_STRIDE
    if parts is None:
        return np.full((side, side), PART_UNKNOWN, np.uint8)
    to_map = map_matrix(matrix, stride=PART_STRIDE)
    cropped = cv2.warpAffine(
        parts, to_map, (side, side), flags=cv2.INTER_NEAREST, borderValue=(PART_UNKNOWN,)
    )
    return np.asarray(cropped, np.uint8)


def person_map(silhouette: npt.NDArray[np.bool_]) -> Image:
    """Part map of a silhouette (H, W): person of unknown part, and background."""
    return np.where(silhouette, PART_PERSON, 0).astype(np.uint8)
