"""AMASS motions (.npz): SMPL, SMPL-H or SMPL-X axis-angle poses in a z-up world."""

import zipfile
from pathlib import Path

import numpy as np

from kinestream.geometry.rotation import matrix_from_axis_angle
from kinestream.trainer.data.motion.clip import NUM_BODY_JOINTS, REST_JOINTS_M, MotionClip
from kinestream.trainer.data.motion.source import FloatArray, MocapError

_POSE_WIDTHS = {72: "SMPL", 156: "SMPL-H", 165: "SMPL-X"}
_FPS_KEYS = ("mocap_framerate", "mocap_frame_rate")
# world z up -> y up
_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def load_amass(path: Path, *, name: str = "") -> MotionClip:
    """Read an AMASS-format file; its first 22 joints are ours, so nothing is retargeted.

    Keys: `poses` (T, 72 | 156 | 165) axis-angle, `trans` (T, 3) metres, `mocap_framerate` or
    `mocap_frame_rate` (AMASS publishes both spellings). No pickled array is read.

    Raises:
        MocapError: with file and key, when a key is missing or its array is of wrong shape or type.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as content:
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise MocapError(f"{path}: not an npz archive")
            keys = set(content.files)
            poses = _array(path, content, "poses")
            translation = _array(path, content, "trans")
            fps_key = next((key for key in _FPS_KEYS if key in keys), None)
            if fps_key is None:
                raise MocapError(f"{path}, key '{_FPS_KEYS[0]}': missing; it has {sorted(keys)}")
            fps = float(_array(path, content, fps_key).reshape(-1)[0])
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise MocapError(f"{path}: not a readable npz archive ({error})") from None
    if poses.ndim != 2 or poses.shape[1] not in _POSE_WIDTHS or len(poses) == 0:
        widths = ", ".join(f"{width} ({model})" for width, model in _POSE_WIDTHS.items())
        raise MocapError(f"{path}, key 'poses': expected (T, W) with W in {widths}; found {poses.shape}")
    if translation.shape != (len(poses), 3):
        raise MocapError(f"{path}, key 'trans': expected ({len(poses)}, 3), found {translation.shape}")
    if not fps > 0:
        raise MocapError(f"{path}, key '{fps_key}': frame rate {fps} is not positive")
    vectors = poses.reshape(len(poses), -1, 3)[:, :NUM_BODY_JOINTS]
    rotations = matrix_from_axis_angle(vectors)
    rotations[:, 0] = _UP @ rotations[:, 0]
    # `trans` moves the model's origin; the pelvis of SMPL's template lies this far from it
    return MotionClip(
        name or str(path), rotations, translation @ _UP.T + REST_JOINTS_M[0], fps, source="amass"
    )


def _array(path: Path, content: np.lib.npyio.NpzFile, key: str) -> FloatArray:
    if key not in content.files:
        raise MocapError(f"{path}, key '{key}': missing; the file has {sorted(content.files)}")
    try:
        array = content[key]
    except ValueError as error:
        raise MocapError(f"{path}, key '{key}': {error}") from None
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or array.size == 0:
        raise MocapError(f"{path}, key '{key}': expected finite numbers, found {array.dtype} {array.shape}")
    return array.astype(np.float64)
