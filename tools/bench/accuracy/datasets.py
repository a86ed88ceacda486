"""Accuracy on 3DPW, EMDB and Human3.6M in their published layouts, frame by frame.

* 3DPW (test) and EMDB: frames with trusted camera, every ``stride``-th. The reference is the set's pose and
  shape on the body given with ``--reference-body``, or its pose on our body; only with the SMPL file of the
  set do the numbers compare with the literature, and even then they are over 24 joints instead of 14
  regressed ones. MPJPE after moving the pelvis, PA-MPJPE after a similarity.
* Human3.6M (S9, S11): 12 limb joints of the set against the 12 surface keypoints of ours, MPJPE from the
  middle of the hips, PA-MPJPE after a similarity.

Boxes are the projected reference with its margins, as is usual, so that people are not searched for.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from kinestream.body.model import BodyModel
from kinestream.body.skeleton import KEYPOINT_NAMES
from kinestream.geometry.camera import Camera
from kinestream.latent.flow import PoseFlow
from kinestream.regress.upright import Observer
from kinestream.tools.bench.accuracy.sets import posed
from kinestream.trainer.data.annotated.annotated import AnnotatedVideo, FloatArray, read_picture
from kinestream.trainer.data.annotated.human36m import JOINT_COLUMNS
from kinestream.trainer.data.annotated.threedpw import PosedSequence
from kinestream.trainer.losses.body import with_hands
from kinestream.trainer.metrics import aligned_error, root_error

TEST_SUBJECTS: Final = ("S9", "S11")
H36M_FOCAL_PX: Final = 1147.0
"""The four cameras have 1,143 to 1,150 px."""

_HIPS: Final = ("left_hip", "right_hip")
_JOINTS_IN_BOX: Final = 0.1


@torch.no_grad()
def posed_videos(
    regressor: Observer,
    flow: PoseFlow,
    body: BodyModel,
    videos: Sequence[PosedSequence],
    reference: BodyModel | None,
    *,
    stride: int,
) -> dict[str, Any]:
    """Errors on 3DPW or EMDB; ``reference`` is the set's body; None poses ours, of mean shape."""
    errors = []
    for video in videos:
        betas = np.zeros_like(video.betas) if reference is None else video.betas
        for frame in np.flatnonzero(video.valid)[::stride]:
            state = [
                torch.from_numpy(np.asarray(values, np.float32))[None]
                for values in (betas, video.rotations[frame], video.translation_m[frame])
            ]
            true = (reference or body).joints(state[0], with_hands(state[1]), state[2])[0].numpy()
            true = true.astype(np.float64)
            image = read_picture(video.images[frame])
            camera = _camera(image, video.intrinsics)
            seen = regressor(image, [_box(camera.project(true))], camera)
            joints, _ = posed(seen, flow, body)
            errors.append((root_error(joints[0], true), aligned_error(joints[0], true)))
    return _means(errors)


@torch.no_grad()
def human36m(
    regressor: Observer,
    flow: PoseFlow,
    body: BodyModel,
    views: Sequence[AnnotatedVideo],
    focal_px: float,
    *,
    stride: int,
) -> dict[str, Any]:
    """Errors on Human3.6M; ``focal_px`` of its cameras."""
    errors = []
    names = list(JOINT_COLUMNS)
    hips = [names.index(name) for name in _HIPS]
    for view, frame, true, pixels in _h36m_frames(views, stride):
        image = read_picture(view.video, frame)
        height, width = image.shape[:2]
        camera = _camera(image, np.array([focal_px, focal_px, width / 2 - 0.5, height / 2 - 0.5]))
        seen = regressor(image, [_box(pixels)], camera)
        _, keypoints = posed(seen, flow, body)
        guess = keypoints[0, [KEYPOINT_NAMES.index(name) for name in names]]
        centred = [points - points[hips].mean(0) for points in (guess, true)]
        gap = np.linalg.norm(centred[0] - centred[1], axis=1).mean()
        errors.append((gap, aligned_error(guess, true)))
    return _means(errors)


def _means(errors_m: Sequence[Any]) -> dict[str, Any]:
    mpjpe_mm, pa_mpjpe_mm = 1000 * np.mean(errors_m, axis=0)
    return {"frames": len(errors_m), "mpjpe_mm": float(mpjpe_mm), "pa_mpjpe_mm": float(pa_mpjpe_mm)}


def _h36m_frames(
    views: Sequence[AnnotatedVideo], stride: int
) -> Iterator[tuple[AnnotatedVideo, int, FloatArray, FloatArray]]:
    columns = list(JOINT_COLUMNS.values())
    for view in views:
        if view.joints_m is None:
            raise ValueError(f"{view.video}: no 3D positions (D3_Positions_mono) beside the 2D ones")
        for frame in range(0, len(view.joints_px), stride):
            yield view, frame, view.joints_m[frame, columns], view.joints_px[frame, columns]


def _camera(image: npt.NDArray[np.uint8], intrinsics: FloatArray) -> Camera:
    height, width = image.shape[:2]
    fx, fy, cx, cy = (float(value) for value in intrinsics)
    return Camera(width, height, (fx, fy), (cx, cy))


def _box(points_px: npt.ArrayLike) -> FloatArray:
    """Box (4,) around joints, a tenth of its longer side wider each way for flesh, hands and head."""
    points = np.asarray(points_px, np.float64)
    low, high = points.min(0), points.max(0)
    margin = _JOINTS_IN_BOX * (high - low).max()
    return np.concatenate([low - margin, high + margin])
