"""Twelve limb joints that every pose tracker has, so that trackers with other bodies can stand in one table.

Centred between the hips. Joints are defined a little differently everywhere (MediaPipe's hips lie wider
apart), so that error is given after the best similarity of every frame; jitter and lag hardly depend on it.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kinestream.body.skeleton import JOINT_NAMES
from kinestream.tools.metrics import motion as metrics
from kinestream.trainer.data.photos.lspet import LIMB_JOINTS as LIMB_NAMES
from kinestream.trainer.data.photos.pseudo import LANDMARK_OF_KEYPOINT
from kinestream.trainer.metrics import aligned_error

Floats = npt.NDArray[np.float64]

LIMB_JOINTS: Final = tuple(map(JOINT_NAMES.index, LIMB_NAMES))
"""Their places among the 24 joints."""
LIMB_LANDMARKS: Final = tuple(LANDMARK_OF_KEYPOINT[name] for name in LIMB_NAMES)
"""Their places among MediaPipe's landmarks."""
_HIPS: Final = (LIMB_NAMES.index("left_hip"), LIMB_NAMES.index("right_hip"))


def limb_figures(times_s: Floats, found_m: Floats, true_m: Floats) -> dict[str, Any]:
    """Error, jitter and lag of limbs (T, 12, 3) in metres against the truth, in the frames that have them."""
    seen = np.isfinite(found_m).all((1, 2))
    at, found, true = times_s[seen], _centred(found_m[seen]), _centred(true_m[seen])
    lag_ms = metrics.lag_ms([(at, found, true)])
    return {
        "tracked": int(seen.sum()),
        "pa_mpjpe_mm": 1000 * float(np.mean(aligned_error(found, true))),
        "jitter_100m_s3": metrics.jitter(at, found),
        "lag_ms": lag_ms if np.isfinite(lag_ms) else None,
    }


def run_mediapipe(python: Path, clip: Path, *options: str) -> dict[str, Any]:
    """What `mediapipe_run.py` says of a clip, run by the interpreter of an environment with MediaPipe.

    Raises ``RuntimeError`` with its error output where that fails.
    """
    command = [str(python), str(Path(__file__).with_name("mediapipe_run.py")), str(clip), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(f"{python} could not run MediaPipe on {clip}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def mediapipe_limbs(python: Path, clip: Path) -> Floats:
    """World landmarks of the limbs (T, 12, 3) by MediaPipe Pose in its video mode; NaN where it finds nobody.

    Raises ``RuntimeError`` as `run_mediapipe`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "landmarks.json"
        run_mediapipe(python, clip, "--landmarks", str(file))
        return limbs_of(json.loads(file.read_text(encoding="utf-8")))


def limbs_of(frames: list[list[list[float]] | None]) -> Floats:
    """Landmarks (33, 3) or None of every frame -> limbs (T, 12, 3)."""
    nobody = [[float("nan")] * 3] * 33
    points = np.array([nobody if frame is None else frame for frame in frames], np.float64)
    return points[:, list(LIMB_LANDMARKS)]


def _centred(limbs: Floats) -> Floats:
    return limbs - limbs[:, list(_HIPS)].mean(1, keepdims=True)
