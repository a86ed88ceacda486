"""MPI-INF-3DHP: studio video of eight people from 14 cameras, with 28 joints in 2D and 3D.

Layout as published: ``S1/Seq1/annot.mat`` (``annot2`` and ``annot3``: a cell a camera, (T, 56) px and (T, 84)
mm in the camera frame), ``S1/Seq1/camera.calibration``, ``S1/Seq1/imageSequence/video_0.avi``. Research only.
"""

from pathlib import Path
from typing import Final

import numpy as np

from kinestream.trainer.data.annotated.annotated import AnnotatedVideo, AnnotationError, FloatArray

JOINT_NAMES: Final = (
    None, None, None, None, None, None, None, None, None,
    "left_shoulder", "left_elbow", "left_wrist", None, None,
    "right_shoulder", "right_elbow", "right_wrist", None,
    "left_hip", "left_knee", "left_ankle", None, "left_big_toe",
    "right_hip", "right_knee", "right_ankle", None, "right_big_toe",
)  # fmt: skip
"""Our keypoint for each of the 28 joints: spine, neck, head, clavicles, hands and feet have none."""


_COLUMNS: Final = {name: column for column, name in enumerate(JOINT_NAMES) if name is not None}


def load_3dhp(folder: Path) -> list[AnnotatedVideo]:
    """All cameras of the sequences below ``folder`` whose video is there.

    Raises ``FileNotFoundError``, ``ImportError`` (scipy is in the extra 'train') and
    :class:`AnnotationError`.
    """
    sequences = sorted(Path(folder).glob("S*/Seq*/annot.mat"))
    if not sequences:
        raise FileNotFoundError(f"no S*/Seq*/annot.mat in {folder}; see docs/training.md for the layout")
    return [view for path in sequences for view in load_sequence(path.parent)]


def load_sequence(folder: Path) -> list[AnnotatedVideo]:
    """The cameras of one sequence whose video is there."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("MPI-INF-3DHP needs scipy: pip install 'kinestream[train]'") from error
    path = folder / "annot.mat"
    try:
        content = loadmat(path)
        flat, deep = content["annot2"].ravel(), content["annot3"].ravel()
        intrinsics = read_calibration(folder / "camera.calibration")
        views = []
        for number, (pixels, millimetres) in enumerate(zip(flat, deep, strict=True)):
            video = folder / "imageSequence" / f"video_{number}.avi"
            if video.exists():
                joints_px = np.asarray(pixels, np.float64).reshape(-1, len(JOINT_NAMES), 2)
                joints_m = np.asarray(millimetres, np.float64).reshape(-1, len(JOINT_NAMES), 3) / 1000
                views.append(AnnotatedVideo(video, _COLUMNS, joints_px, joints_m, intrinsics[number]))
    except (KeyError, ValueError, IndexError) as error:
        raise AnnotationError(f"{path}: not MPI-INF-3DHP annotations ({error!r:.300})") from error
    return views


def read_calibration(path: Path) -> list[FloatArray]:
    """Intrinsics (4,) fx, fy, cx, cy of each camera of a ``camera.calibration`` file, in its order."""
    result = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[:1] == ["intrinsic"]:
            matrix = np.array(fields[1:], np.float64).reshape(4, 4)
            result.append(matrix[[0, 1, 0, 1], [0, 1, 2, 2]])
    return result
