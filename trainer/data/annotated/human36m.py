"""Human3.6M: studio video of actors from four cameras, with 32 joints in 2D.

Layout as published: ``S1/MyPoseFeatures/D2_Positions/<action>.<camera>.cdf`` (``Pose``: (1, T, 64) px),
``S1/MyPoseFeatures/D3_Positions_mono/<action>.<camera>.cdf`` ((1, T, 96) mm, camera frame) and
``S1/Videos/<action>.<camera>.mp4``. Its licence is for academic use only.
"""

from pathlib import Path
from typing import Final

import numpy as np

from kinestream.trainer.data.annotated.annotated import AnnotatedVideo, AnnotationError, FloatArray

JOINT_COLUMNS: Final[dict[str, int]] = {
    "right_hip": 1, "right_knee": 2, "right_ankle": 3,
    "left_hip": 6, "left_knee": 7, "left_ankle": 8,
    "left_shoulder": 17, "left_elbow": 18, "left_wrist": 19,
    "right_shoulder": 25, "right_elbow": 26, "right_wrist": 27,
}  # fmt: skip
"""Which of the 32 joints are keypoints of ours."""

NUM_JOINTS: Final = 32


def load_human36m(folder: Path, subjects: tuple[str, ...]) -> list[AnnotatedVideo]:
    """All actions of subjects ("S1", ...) whose video is there.

    Raises ``FileNotFoundError``, ``ImportError`` (cdflib is in the extra 'train') and
    :class:`AnnotationError`.
    """
    views = []
    for subject in subjects:
        flat = Path(folder) / subject / "MyPoseFeatures" / "D2_Positions"
        files = sorted(flat.glob("*.cdf"))
        if not files:
            raise FileNotFoundError(f"no *.cdf in {flat}; see docs/training.md for the layout")
        for path in files:
            video = Path(folder) / subject / "Videos" / f"{path.stem}.mp4"
            if video.exists():
                deep = flat.parent / "D3_Positions_mono" / path.name
                joints_m = read_pose(deep, 3) / 1000 if deep.exists() else None
                views.append(AnnotatedVideo(video, JOINT_COLUMNS, read_pose(path, 2), joints_m))
    return views


def read_pose(path: Path, dimensions: int) -> FloatArray:
    """Joints (T, 32, dimensions) of a CDF file, in its unit."""
    try:
        import cdflib
    except ImportError as error:
        raise ImportError("Human3.6M needs cdflib: pip install 'kinestream[train]'") from error
    try:
        pose = np.asarray(cdflib.CDF(path).varget("Pose"), np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise AnnotationError(f"{path}: not a readable CDF file with a variable 'Pose' ({error})") from error
    if pose.size % (NUM_JOINTS * dimensions) or pose.shape[-1] != NUM_JOINTS * dimensions:
        raise AnnotationError(f"{path}: expected (1, T, {NUM_JOINTS * dimensions}), found {pose.shape}")
    return pose.reshape(-1, NUM_JOINTS, dimensions)
