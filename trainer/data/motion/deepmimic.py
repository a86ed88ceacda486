"""DeepMimic motions (.json): 13 movable joints, 44 numbers a frame, arms hanging in the zero pose."""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from kinestream.geometry.rotation import matrix_from_quat
from kinestream.trainer.data.motion.source import FloatArray, MocapError, SourceMotion, compose_global

COLUMNS = 44
# name, parent, columns of the rotation (4: quaternion wxyz, 1: angle about the local z axis), and offset in
# DeepMimic's own axes (x forward, y up, z right) of its humanoid3d skeleton
_SKELETON: tuple[tuple[str, int, slice | None, tuple[float, float, float]], ...] = (
    ("root", -1, slice(4, 8), (0.0, 0.0, 0.0)),
    ("chest", 0, slice(8, 12), (0.0, 0.236151, 0.0)),
    ("neck", 1, slice(12, 16), (0.0, 0.223894, 0.0)),
    ("right_hip", 0, slice(16, 20), (0.0, 0.0, 0.084887)),
    ("right_knee", 3, slice(20, 21), (0.0, -0.421546, 0.0)),
    ("right_ankle", 4, slice(21, 25), (0.0, -0.409870, 0.0)),
    ("right_shoulder", 1, slice(25, 29), (-0.024050, 0.243500, 0.183110)),
    ("right_elbow", 6, slice(29, 30), (0.0, -0.274788, 0.0)),
    ("right_wrist", 7, None, (0.0, -0.258947, 0.0)),
    ("left_hip", 0, slice(30, 34), (0.0, 0.0, -0.084887)),
    ("left_knee", 9, slice(34, 35), (0.0, -0.421546, 0.0)),
    ("left_ankle", 10, slice(35, 39), (0.0, -0.409870, 0.0)),
    ("left_shoulder", 1, slice(39, 43), (-0.024050, 0.243500, -0.183110)),
    ("left_elbow", 12, slice(43, 44), (0.0, -0.274788, 0.0)),
    ("left_wrist", 13, None, (0.0, -0.258947, 0.0)),
)
# from DeepMimic's axes to ours (x left, y up, z forward)
_AXES = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def load_deepmimic(path: Path) -> SourceMotion:
    """Read a DeepMimic motion.

    Quaternions are normalised (files are off by up to 0.4). The frame rate is that of the median frame
    duration; where the durations of the frames differ, the motion is resampled to that rate.

    Raises:
        MocapError: with file and frame, when the JSON or a row is broken.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise MocapError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise MocapError(f"{path}: not a text file ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("Frames"), list) or not content["Frames"]:
        raise MocapError(f"{path}, key 'Frames': missing or empty; is this a DeepMimic motion?")
    for frame, row in enumerate(content["Frames"]):
        numbers = isinstance(row, list) and all(type(value) in (int, float) for value in row)
        if not numbers or len(row) != COLUMNS or not np.isfinite(row).all():
            raise MocapError(f"{path}, key 'Frames', frame {frame}: expected {COLUMNS} finite numbers")
    rows = np.array(content["Frames"], dtype=np.float64)

    local = np.broadcast_to(np.eye(3), (len(rows), len(_SKELETON), 3, 3)).copy()
    for joint, (name, _, columns, _) in enumerate(_SKELETON):
        if columns is None:
            continue
        values = rows[:, columns]
        if values.shape[1] == 1:
            local[:, joint] = Rotation.from_euler("z", values).as_matrix()
            continue
        zero = np.flatnonzero(np.linalg.norm(values, axis=1) < 1e-3)
        if len(zero):
            raise MocapError(f"{path}, key 'Frames', frame {zero[0]}: quaternion of '{name}' is zero")
        local[:, joint] = matrix_from_quat(values)
    local = _AXES @ local @ _AXES.T
    translation = rows[:, 1:4] @ _AXES.T
    local, translation, fps = _uniform(path, rows[:, 0], local, translation)
    parents = tuple(parent for _, parent, _, _ in _SKELETON)
    return SourceMotion(
        name=str(path),
        joint_names=tuple(name for name, _, _, _ in _SKELETON),
        parents=parents,
        offsets_m=np.array([offset for _, _, _, offset in _SKELETON]) @ _AXES.T,
        global_rotations=compose_global(local, parents),
        root_translation_m=translation,
        fps=fps,
    )


def _uniform(
    path: Path, durations_s: FloatArray, local: FloatArray, translation: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Resample to one rate where frame durations differ; the last duration means nothing."""
    steps = durations_s[:-1]
    if len(steps) == 0:
        return local, translation, float("nan")
    if (steps <= 0).any():
        frame = int(np.flatnonzero(steps <= 0)[0])
        raise MocapError(f"{path}, key 'Frames', frame {frame}: duration {steps[frame]} s is not positive")
    step = float(np.median(steps))
    if np.abs(steps - step).max() < 0.05 * step:
        return local, translation, 1.0 / step
    times = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.arange(0.0, times[-1], step)
    turned = np.stack(
        [Slerp(times, Rotation.from_matrix(local[:, j]))(wanted).as_matrix() for j in range(local.shape[1])],
        axis=1,
    )
    moved = np.stack([np.interp(wanted, times, translation[:, axis]) for axis in range(3)], axis=1)
    return turned, moved, 1.0 / step
