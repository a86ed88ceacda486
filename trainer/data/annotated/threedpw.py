"""3DPW: video in the wild with SMPL poses. The sequence files are pickles; they are decoded, never run.

Layout as published: ``sequenceFiles/{train,validation,test}/<name>.pkl`` and
``imageFiles/<name>/image_00000.jpg``. Used keys of a sequence: ``sequence``, ``cam_intrinsics`` (3, 3),
``cam_poses`` (T, 4, 4) world -> camera, and a list entry per person of ``poses`` (T, 72), ``trans`` (T, 3),
``betas`` (10 or more), ``poses2d`` (T, 3, 18) and ``campose_valid`` (T,). Non-commercial research only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import NUM_BETAS
from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.trainer.data.annotated.annotated import (
    AnnotatedPerson,
    AnnotationError,
    FloatArray,
    PhotoBody,
    keypoint_array,
)
from kinestream.trainer.data.annotated.pickled_arrays import as_array
from kinestream.trainer.data.annotated.restricted_unpickler import PickleRefusedError, read_pickle
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, REST_JOINTS_M

OPENPOSE_NAMES: Final = (
    "nose", None, "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
"""Our keypoint for each of the 18 of ``poses2d``; the second is the neck."""

_MIN_CONFIDENCE: Final = 0.3


@dataclass(frozen=True, eq=False)
class PosedSequence:
    """T pictures with the SMPL pose of one person."""

    name: str  # of the sequence
    images: tuple[Path, ...]  # T paths
    intrinsics: FloatArray  # (4,) fx, fy, cx, cy px
    rotations: FloatArray  # (T, 22, 3, 3), root in the camera frame
    translation_m: FloatArray  # (T, 3) pelvis in the camera frame
    betas: FloatArray  # (10,) of the SMPL model of the person's gender
    valid: npt.NDArray[np.bool_]  # (T,) whether camera and pose are valid


@dataclass(frozen=True, eq=False)
class Sequence3DPW(PosedSequence):
    """Person number ``person`` of a sequence.

    keypoints_px: (T, 18, 3) detections with confidence, in the order of ``OPENPOSE_NAMES``.
    """

    person: int
    keypoints_px: FloatArray

    def people(self, *, betas: bool = False) -> list[AnnotatedPerson]:
        """The frames with a valid camera as crops' sources.

        ``betas`` keeps the shape, which only fits training with the SMPL body; otherwise it is zero.
        """
        shape = self.betas if betas else np.zeros(NUM_BETAS)
        result = []
        for frame in np.flatnonzero(self.valid):
            points = {
                name: values
                for name, values in zip(OPENPOSE_NAMES, self.keypoints_px[frame].tolist(), strict=True)
                if name is not None and values[2] >= _MIN_CONFIDENCE
            }
            state = PhotoBody(self.intrinsics, self.rotations[frame], self.translation_m[frame], shape)
            result.append(AnnotatedPerson(self.images[frame], keypoint_array(points), body=state))
        return result


def load_3dpw(folder: Path, split: Literal["train", "validation", "test"]) -> list[Sequence3DPW]:
    """All people of a split; ``FileNotFoundError`` when it is not there, else as :func:`load_sequence`."""
    files = sorted((Path(folder) / "sequenceFiles" / split).glob("*.pkl"))
    if not files:
        raise FileNotFoundError(f"no sequenceFiles/{split}/*.pkl in {folder}; see docs/training.md")
    return [person for path in files for person in load_sequence(path, Path(folder) / "imageFiles")]


def load_sequence(path: Path, images: Path) -> list[Sequence3DPW]:
    """The people of one sequence file; :class:`AnnotationError` names what is wrong with it."""
    try:
        content = read_pickle(path.read_bytes())
        name = str(content["sequence"])
        matrix, poses = as_array(content["cam_intrinsics"]), as_array(content["cam_poses"]).astype(np.float64)
        intrinsics = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]], np.float64)
        people = [
            _person(content, number, name, images, intrinsics, poses)
            for number in range(len(content["poses"]))
        ]
    except (PickleRefusedError, KeyError, IndexError, TypeError, ValueError) as error:
        raise AnnotationError(f"{path}: not a 3DPW sequence ({error!r:.300})") from error
    return people


def in_camera(
    vectors: FloatArray, world_to_camera: FloatArray, trans_m: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """SMPL poses in the world -> rotations (T, 22, 3, 3) with the root in the camera, and pelvis (T, 3).

    Args:
        vectors: (T, 24, 3) rotation vectors of all joints.
        world_to_camera: (T, 4, 4).
        trans_m: (T, 3) of the model's origin, from which the pelvis of SMPL's template is some way off.
    """
    turn, shift = world_to_camera[:, :3, :3], world_to_camera[:, :3, 3]
    rotations = matrix_from_axis_angle(vectors[:, :NUM_BODY_JOINTS])
    rotations[:, 0] = turn @ rotations[:, 0]
    return rotations, (turn @ (trans_m + REST_JOINTS_M[0])[:, :, None])[..., 0] + shift


def _person(
    content: dict[str, Any],
    number: int,
    name: str,
    images: Path,
    intrinsics: FloatArray,
    cam_poses: FloatArray,
) -> Sequence3DPW:
    vectors = as_array(content["poses"][number]).astype(np.float64)
    count = len(vectors)
    trans_m = as_array(content["trans"][number]).astype(np.float64)
    rotations, pelvis = in_camera(vectors.reshape(count, -1, 3), cam_poses[:count], trans_m)
    detections = as_array(content["poses2d"][number]).astype(np.float64).transpose(0, 2, 1)
    valid = as_array(content["campose_valid"][number]).astype(bool)
    if detections.shape != (count, 18, 3) or valid.shape != (count,) or len(cam_poses) != count:
        raise ValueError(
            f"person {number}: {count} poses, {detections.shape} keypoints, {len(cam_poses)} cameras"
        )
    return Sequence3DPW(
        name,
        tuple(images / name / f"image_{frame:05d}.jpg" for frame in range(count)),
        intrinsics,
        rotations,
        pelvis,
        as_array(content["betas"][number]).astype(np.float64)[:NUM_BETAS],
        valid,
        number,
        detections,
    )
